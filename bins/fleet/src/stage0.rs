//! `stage0`: fetches the buildlet of a machine and runs it.

mod serial;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use build_client::httpdl::{HttpClient, HttpOptions};
use build_client::stage0::{Machine, await_network, fetch};
use build_client::{Error, ErrorKind};
use build_core::recipe::parse_duration;
use build_core::tarutil::Untar;
use clap::Parser;
use farmer_cli::{Exit, Failure, log_also_to};
use tokio_util::sync::CancellationToken;

use self::serial::SerialPort;

const EXAMPLES: &str = "Examples:
  stage0                                       fetches the buildlet of this machine and runs it
  META_BUILDLET_BINARY_URL=https://farm.example/buildlet STAGE0_ARGS='--reverse-type=arm \\
    --coordinator=farm.example:443' stage0
  stage0 -dry-run                              tells what it would run
  stage0 -untar-file=go.tar.gz -untar-dest-dir=/go1.4

The buildlet's address, the first that is told: META_BUILDLET_BINARY_URL; the attribute
buildlet-binary-url in the metadata of the machine; the Go project's own, by system and processor.
With META_BUILDLET_BINARY_SHA256 it is checked before it replaces the one that is there.

Exit codes: that of the buildlet; 1 when it could not be fetched or started, 2 bad usage.";

/// Fetch the buildlet of this machine and run it
#[derive(Parser)]
#[command(name = "stage0", version, after_help = EXAMPLES)]
struct Args {
    /// How long to wait for the network; 0: 30 s, on Windows 5 min
    #[arg(long = "network-wait", value_name = "TIME", default_value = "0s", value_parser = time)]
    network_wait: Duration,
    /// What must answer before anything is fetched (http://...) [default: the host of the buildlet's address]
    #[arg(long = "netcheck-url", value_name = "URL")]
    netcheck_url: Option<String>,
    /// Unpack this archive and end
    #[arg(long = "untar-file", value_name = "FILE")]
    untar_file: Option<PathBuf>,
    /// Where to unpack it; the directory must exist
    #[arg(long = "untar-dest-dir", value_name = "DIR")]
    untar_dest_dir: Option<PathBuf>,
    /// Where the buildlet is kept
    #[arg(long, value_name = "FILE", default_value = "./buildlet.exe")]
    target: PathBuf,
    /// Fetch and run again when the buildlet has ended, for ever
    #[arg(long = "again")]
    again: bool,
    /// Write the log to this serial port too, for example /dev/ttyS0; the buildlet finds it free
    #[arg(long, value_name = "DEVICE")]
    serial: Option<PathBuf>,
    /// Tell what would be fetched and run, as JSON, and do nothing
    #[arg(long = "dry-run")]
    dry_run: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => parse_duration(text).map_err(|error| error.to_string()),
    }
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let args: Args = match farmer_cli::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    // Whoever looks at a machine that starts has nothing but this log.
    let ran = farmer_cli::run("stage0", true, async |stop| {
        code = args.run(stop).await?;
        Ok(())
    });
    match ran == ExitCode::SUCCESS {
        true => code,
        false => ran,
    }
}

fn failed(text: impl Into<String>) -> Failure {
    told(&Error::new(ErrorKind::Unavailable, text.into()))
}

fn told(error: &Error) -> Failure {
    let code = match error.kind() {
        ErrorKind::Invalid => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::because(code, error, error.hint())
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<ExitCode, Failure> {
        if let Some(file) = &self.untar_file {
            return self.untar(file).map(|()| ExitCode::SUCCESS);
        }
        let machine = Machine::here(std::env::vars());
        let arguments = machine.arguments().map_err(|e| told(&e))?;
        if self.dry_run {
            let (url, source) = machine.url().await.map_err(|e| told(&e))?;
            let plan = serde_json::json!({"url": url, "source": source, "arguments": arguments});
            println!("{plan}");
            return Ok(ExitCode::SUCCESS);
        }
        let client = HttpOptions::default()
            .user_agent(concat!("stage0/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| told(&e))?;
        loop {
            self.take_port();
            let ended = tokio::select! {
                ended = self.once(&machine, &arguments, &client) => ended,
                () = stop.cancelled() => return Err(Failure::interrupted()),
            };
            if !self.again {
                return ended;
            }
            match ended {
                Ok(_) => {}
                Err(failure) => {
                    tracing::warn!(?failure, "again in 2 s");
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            }
        }
    }

    /// Begins to log to the serial port. A machine without it does its work.
    fn take_port(&self) {
        let Some(path) = &self.serial else { return };
        match SerialPort::open(path) {
            Ok(port) => log_also_to(Some(Box::new(port))),
            Err(error) => tracing::warn!(%error, port = %path.display(), "no serial port"),
        }
    }

    /// Fetches and runs the buildlet once.
    async fn once(
        &self,
        machine: &Machine,
        arguments: &[String],
        client: &HttpClient,
    ) -> Result<ExitCode, Failure> {
        let (url, source) = machine.url().await.map_err(|e| told(&e))?;
        tracing::info!(url, ?source, "buildlet");
        let network = self.await_network(&url).await?;
        let sha256 = sha256()?;
        let begin = Instant::now();
        match fetch(client, &url, &self.target, sha256).await {
            Ok(done) => tracing::info!(?done, "buildlet is there"),
            // A buildlet that was good once is better than none; one that is wrong is not.
            Err(error)
                if self.target.exists() && error.kind().is_retryable() && sha256.is_none() =>
            {
                tracing::warn!(error = error.chain(), "runs the buildlet of before");
            }
            Err(error) => return Err(told(&error)),
        }
        let is_root = rustix::process::getuid().is_root();
        let target = self.target.canonicalize()?;
        let mut command = tokio::process::Command::new(target);
        command
            .args(arguments)
            .envs(machine.more_env(is_root, network, begin.elapsed()))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        // The buildlet may want the port for itself.
        log_also_to(None);
        let status = command.status().await;
        self.take_port();
        let status = status.map_err(|error| {
            Failure::because(
                Exit::Failed,
                &error,
                Some("is it a program of this system?"),
            )
        })?;
        tracing::info!(%status, "the buildlet has ended");
        match status.code() {
            Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
            None => Err(failed(format!("the buildlet was ended: {status}"))),
        }
    }

    async fn await_network(&self, url: &str) -> Result<Duration, Failure> {
        let check = match &self.netcheck_url {
            Some(url) => url.clone(),
            // Any answer will do, at the same host without encryption.
            None => {
                let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
                let host = rest.split('/').next().unwrap_or_default();
                format!("http://{host}/netcheck")
            }
        };
        let default = match cfg!(windows) {
            true => Duration::from_secs(300),
            false => Duration::from_secs(30),
        };
        let limit = match self.network_wait.is_zero() {
            true => default,
            false => self.network_wait,
        };
        await_network(&check, limit).await.map_err(|e| told(&e))
    }

    fn untar(&self, file: &std::path::Path) -> Result<(), Failure> {
        let usage = |text: String| failed(text);
        let Some(dir) = &self.untar_dest_dir else {
            return Err(usage("--untar-dest-dir is missing".into()));
        };
        if !dir.is_dir() {
            let text = format!("--untar-dest-dir={}: no such directory", dir.display());
            return Err(usage(text));
        }
        let open = std::fs::File::open(file);
        let open = open.map_err(|e| usage(format!("--untar-file={}: {e}", file.display())))?;
        Untar::open(dir)?
            .unpack(open)
            .map_err(|e| Failure::because(Exit::Failed, &e, None))?;
        Ok(())
    }
}

fn sha256() -> Result<Option<[u8; 32]>, Failure> {
    let name = "META_BUILDLET_BINARY_SHA256";
    let Some(text) = std::env::var(name).ok().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let mut sum = [0; 32];
    match hex::decode_to_slice(text.trim(), &mut sum) {
        Ok(()) => Ok(Some(sum)),
        Err(_) => Err(Failure::usage(
            format!("{name} is not a SHA-256"),
            "give 64 hexadecimal digits",
        )),
    }
}
