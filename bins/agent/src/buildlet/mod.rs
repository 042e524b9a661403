//! `buildlet`: the program.

mod metadata;
mod options;
#[cfg(feature = "tls")]
mod reverse;
mod turn_off;
#[cfg(feature = "tls")]
mod update;
mod work_dir;

use std::ffi::OsString;
use std::process::ExitCode;

use build_server::buildlet::{BuildletServer, Config, Ended, Listener, sandbox};
use tokio_util::sync::CancellationToken;

use crate::log;
use options::{Asked, Options};

/// The name by which every program that is also a buildlet knows that it is one.
const NAME: &str = "buildlet";

/// Runs the buildlet with these arguments, its own name not among them.
///
/// Exit codes: 0 after a stop, a halt, or the end of its lease; 1 when it could not run, or the
/// coordinator refuses it; 2 for a bad command line or a refusal to listen in the open; 75 when the
/// coordinator was lost and `--reconnect=false` was given.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(argument) = args.first().and_then(|arg| arg.to_str())
        && [sandbox::LAUNCH, sandbox::INSIDE].contains(&argument)
    {
        return sandbox::launch(argument, NAME, &[]);
    }
    let options = match Options::parse(args) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::Tell(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(text) => return fail(2, &format!("{text}\n  hint: buildlet --help")),
    };
    log::install(options.log_level);
    // Without a terminal of its own no command can wait for somebody's answer at it. It fails
    // for the leader of a process group, which is how shells start programs: no harm then.
    let _ = rustix::process::setsid();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ran = match runtime {
        Ok(runtime) => {
            let ran = runtime.block_on(run(&options));
            // Everything has been waited for, with a deadline.
            runtime.shutdown_background();
            ran
        }
        Err(error) => Err(Failure(1, format!("cannot start the runtime: {error}"))),
    };
    match ran {
        Ok(Ended::Halted) => turn_off::after_halt(&options),
        Ok(_) => ExitCode::SUCCESS,
        Err(Failure(code, text)) => fail(code, &text),
    }
}

/// An exit code and the text for people.
struct Failure(u8, String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self(1, text)
    }
}

fn fail(code: u8, text: &str) -> ExitCode {
    eprintln!("buildlet: {text}");
    ExitCode::from(code)
}

async fn run(options: &Options) -> Result<Ended, Failure> {
    let metadata = metadata::Metadata::from_env().map_err(|text| Failure(2, text))?;
    let work_dir = work_dir::choose(options).map_err(|text| Failure(1, text))?;
    let state_dir = options
        .state_dir
        .clone()
        .unwrap_or_else(|| work_dir::default_state_dir(&work_dir));
    if options.reverse.is_some() {
        return reversed(options, work_dir, state_dir).await;
    }
    let has_tls = metadata.tls.is_some();
    let listener = listen(options, &metadata).await?;
    refuse_exposure(options, &listener, metadata.password.is_some() && has_tls)?;
    let mut config = config(options, work_dir, state_dir).password(metadata.password);
    if let Some(ttl) = options.lease_ttl {
        let nonce = metadata.nonce.ok_or_else(|| {
            Failure(
                2,
                format!(
                    "--lease-ttl needs the nonce of the lease in {}",
                    metadata::NONCE
                ),
            )
        })?;
        config = config.lease(&nonce, ttl);
    }
    let server = BuildletServer::open(config)?;
    tracing::info!(
        address = listener.address(),
        pid = std::process::id(),
        "buildlet listens"
    );
    let stop = CancellationToken::new();
    let running = server.run(vec![listener], stop.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        () = signals() => stop.cancel(),
    }
    Ok(running.await?)
}

#[cfg(feature = "tls")]
async fn reversed(
    options: &Options,
    work_dir: std::path::PathBuf,
    state_dir: std::path::PathBuf,
) -> Result<Ended, Failure> {
    reverse::run(options, work_dir, state_dir).await
}

#[cfg(not(feature = "tls"))]
async fn reversed(
    _: &Options,
    _: std::path::PathBuf,
    _: std::path::PathBuf,
) -> Result<Ended, Failure> {
    let text = "--reverse-type: this buildlet was built without TLS";
    Err(Failure(2, text.into()))
}

fn config(
    options: &Options,
    work_dir: std::path::PathBuf,
    state_dir: std::path::PathBuf,
) -> Config {
    Config::new(work_dir, state_dir)
        .env(metadata::clean_env(std::env::vars_os()))
        .adopt_orphans(true)
        .keep_dir(options.keep_dir.clone())
        .keep_bytes(options.keep_bytes)
        .go_cache(options.go_cache.clone())
        .links_may_leave(options.links_may_leave)
        .fetch_anywhere(options.fetch_anywhere)
        .archives(options.archives.clone())
        .ssh(options.ssh)
        .sandbox(
            options
                .sandbox
                .then(|| sandbox::Launcher::this_program(NAME, &[])),
        )
}

async fn listen(options: &Options, metadata: &metadata::Metadata) -> Result<Listener, Failure> {
    let address = options
        .address(metadata.tls.is_some())
        .map_err(|text| Failure(2, text))?;
    let listener = Listener::bind(&address)
        .await
        .map_err(|error| Failure(1, format!("cannot listen on {address}: {error}")))?;
    metadata::encrypt(listener, metadata).map_err(|text| Failure(2, text))
}

/// Whoever reaches a buildlet can run commands on its machine.
fn refuse_exposure(options: &Options, listener: &Listener, guarded: bool) -> Result<(), Failure> {
    if !listener.is_exposed() || guarded {
        return Ok(());
    }
    let address = listener.address();
    if options.insecure {
        tracing::warn!(
            address,
            "anybody who reaches this address can run commands here"
        );
        return Ok(());
    }
    Err(Failure(
        2,
        format!(
            "refusing to listen on {address}: anybody who reaches it could run commands here\n  hint: \
         give it a password and TLS (META_password, META_tls_cert, META_tls_key), listen on \
         localhost or a unix socket, or say --i-know-this-is-insecure"
        ),
    ))
}

/// Waits for SIGINT or SIGTERM.
async fn signals() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the system's default ends the process.
        _ => std::future::pending().await,
    }
}
