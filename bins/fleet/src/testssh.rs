//! `testssh`: proves that a build machine can be reached by ssh.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use build_client::testssh::{WORKS, await_listener, try_login};
use build_client::transport::TcpDial;
use build_client::workers::Docker;
use build_client::{Error, ErrorKind};
use clap::Parser;
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

/// For every question to docker.
const ASK: Duration = Duration::from_secs(600);
/// How long the buildlet in a new container may take to listen.
const LISTENS: Duration = Duration::from_secs(120);

const EXAMPLES: &str = "Examples:
  testssh -start-image golang/builder          starts a container, tries, removes it
  testssh -container 4f66ad9a                  tries one that runs
  testssh -address 10.0.0.7:80 -user gopher    tries a buildlet at an address";

/// Prove that a build machine can be reached by ssh through its buildlet
#[derive(Parser)]
#[command(name = "testssh", version, after_help = EXAMPLES)]
struct Args {
    /// A container that runs
    #[arg(long, value_name = "ID", conflicts_with_all = ["start_image", "address"])]
    container: Option<String>,
    /// An image to start a container of, which is removed afterwards
    #[arg(long = "start-image", value_name = "IMAGE", conflicts_with = "address")]
    start_image: Option<String>,
    /// A buildlet
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// As whom to log in
    #[arg(long, default_value = "root")]
    user: String,
    /// Where a new container finds its buildlet
    #[arg(long = "buildlet-url", value_name = "URL")]
    buildlet_url: Option<String>,
    /// Where the key of the login is kept [default: the user's cache directory]
    #[arg(long = "key-dir", value_name = "DIR")]
    key_dir: Option<PathBuf>,
    /// The program; podman will do
    #[arg(long, value_name = "PROGRAM", default_value = "docker")]
    docker: PathBuf,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

fn failed(text: impl Into<String>) -> Failure {
    told(&Error::new(ErrorKind::Unavailable, text.into()))
}

fn told(error: &Error) -> Failure {
    Failure::because(Exit::Failed, error, error.hint())
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let docker = Docker::new(&self.docker);
        let started = match &self.start_image {
            Some(image) => Some(self.start(&docker, image).await.map_err(|e| told(&e))?),
            None => None,
        };
        let tried = tokio::select! {
            tried = self.login(&docker, started.as_deref()) => tried,
            () = stop.cancelled() => Err(Failure::interrupted()),
        };
        if let Some(id) = &started {
            if tried.is_err()
                && let Ok(logs) = docker.ask(&["logs", id], ASK).await
            {
                eprintln!("log of container {id}:\n{logs}");
            }
            docker.remove(id).await.map_err(|e| told(&e))?;
        }
        tried?;
        println!("{WORKS}");
        Ok(())
    }

    async fn start(&self, docker: &Docker, image: &str) -> Result<String, Error> {
        let url = self.buildlet_url.clone().unwrap_or_else(|| {
            let tail = if image.contains("linux-x86-alpine") {
                "-static"
            } else {
                ""
            };
            format!("https://storage.googleapis.com/go-builder-data/buildlet.linux-amd64{tail}")
        });
        let url = format!("META_BUILDLET_BINARY_URL={url}");
        let args = ["run", "-d", "--stop-timeout=300", "-e", &url, image];
        Ok(docker.ask(&args, ASK).await?.trim().to_owned())
    }

    async fn login(&self, docker: &Docker, started: Option<&str>) -> Result<(), Failure> {
        let address = match (started.or(self.container.as_deref()), &self.address) {
            (Some(id), _) => {
                let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
                let args = ["inspect", "--format", format, id];
                let said = docker.ask(&args, ASK).await.map_err(|e| told(&e))?;
                let ip = said.split_whitespace().next().map(str::to_owned);
                let ip = ip.ok_or_else(|| failed(format!("container {id} has no address")))?;
                let address = if ip.contains(':') {
                    ip
                } else {
                    format!("{ip}:80")
                };
                await_listener(&address, LISTENS)
                    .await
                    .map_err(|e| told(&e))?;
                address
            }
            (None, Some(address)) => address.clone(),
            (None, None) => return Err(failed("no address specified".to_owned())),
        };
        let keys = self.key_dir.clone().unwrap_or_else(cache_dir);
        let dial = TcpDial::new(address);
        try_login(&dial, &self.user, &keys)
            .await
            .map_err(|e| told(&e))
    }
}

fn cache_dir() -> PathBuf {
    let told = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let dir = told.or_else(home).unwrap_or_else(std::env::temp_dir);
    dir.join("farmer")
}
