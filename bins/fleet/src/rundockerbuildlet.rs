//! `rundockerbuildlet`: keeps containers of build machines running.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::workers::{Docker, Keeper, Workers};
use build_client::{Error, ErrorKind};
use clap::Parser;
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

const EXAMPLES: &str = "Examples:
  rundockerbuildlet -n 2 -image golang/builder -key /etc/gobuild.key
  rundockerbuildlet -n 4 -cpu 4 -memory 8g -env host-linux-arm64-packet -basename packet
  rundockerbuildlet -docker podman -once      one round, then ends

Containers of this program carry the label farmer.workers; no other container is touched.";

/// Keep containers of build machines running
#[derive(Parser)]
#[command(name = "rundockerbuildlet", version, after_help = EXAMPLES)]
struct Args {
    /// The image
    #[arg(long, default_value = "golang/builder")]
    image: String,
    /// How many containers
    #[arg(long = "n", value_name = "N", default_value_t = 1)]
    count: u32,
    /// What their names begin with
    #[arg(long, default_value = "builder")]
    basename: String,
    /// Memory for each; empty: no limit
    #[arg(long, default_value = "3g")]
    memory: String,
    /// The key that the machines prove themselves with
    #[arg(long, value_name = "FILE", default_value = "/etc/gobuild.key")]
    key: PathBuf,
    /// GO_BUILDER_ENV of the machines
    #[arg(long, default_value = "")]
    env: String,
    /// Processors for each; 0: no limit
    #[arg(long, default_value_t = 0)]
    cpu: u32,
    /// Fetch the image before each start
    #[arg(long)]
    pull: bool,
    /// Where the machines find the buildlet
    #[arg(long = "buildlet-url", value_name = "URL", default_value = "")]
    buildlet_url: String,
    /// The machines listen on port 443 and get no key: for one container on a machine of a cloud
    #[arg(long)]
    listen: bool,
    /// The program; podman will do
    #[arg(long, value_name = "PROGRAM", default_value = "docker")]
    docker: PathBuf,
    /// Where keys are written for the containers
    #[arg(long = "key-root", value_name = "DIR", default_value = "/tmp")]
    key_root: PathBuf,
    /// One round, then end
    #[arg(long)]
    once: bool,
    /// One JSON object for each round on standard output
    #[arg(long)]
    json: bool,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
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
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let key = self.read_key()?;
        let workers = Workers {
            image: self.image,
            count: self.count,
            base_name: self.basename,
            only_name: None,
            memory: self.memory,
            cpus: self.cpu,
            builder_env: self.env,
            buildlet_url: self.buildlet_url,
            is_reverse: !self.listen,
            key_root: self.key_root,
        };
        let what = format!("{} of {}", workers.count, workers.image);
        let keeper = Keeper::new(workers, Docker::new(self.docker), key).map_err(|e| told(&e))?;
        let mut keeper = keeper.pulling(self.pull);
        tracing::info!(containers = what, "kept running");
        loop {
            let round = tokio::select! {
                round = keeper.round() => round,
                () = stop.cancelled() => return Ok(()),
            };
            let failed = match round {
                Ok(round) => {
                    if self.json {
                        println!("{}", serde_json::json!(round));
                    }
                    for name in &round.removed {
                        tracing::info!(name, "removed");
                    }
                    for name in &round.started {
                        tracing::info!(name, "started");
                    }
                    for (name, error) in &round.failed {
                        tracing::warn!(name, error, "not done");
                    }
                    let first = round.failed.into_iter().next();
                    first.map(|(name, error)| failed(format!("{name}: {error}")))
                }
                Err(error) => {
                    tracing::warn!(error = error.chain(), "no round");
                    Some(told(&error))
                }
            };
            if self.once {
                return failed.map_or(Ok(()), Err);
            }
            tokio::select! {
                () = tokio::time::sleep(keeper.pause()) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    fn read_key(&self) -> Result<Option<String>, Failure> {
        if self.listen {
            return Ok(None);
        }
        match std::fs::read_to_string(&self.key) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) => Err(failed(format!(
                "cannot read the build key from --key={}: {error}",
                self.key.display()
            ))),
        }
    }
}
