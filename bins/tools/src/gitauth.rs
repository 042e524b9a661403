//! `gitauth`: credentials for git, in a file that only its owner can read.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::gitauth::{GitCredentials, configure_global, cookie_file};
use build_client::secret::{GoogleSecrets, MetadataServer, Secret, SecretSource as _, names};
use clap::Parser;
use farmer_cli::Failure;
use tokio_util::sync::CancellationToken;

use crate::told::{failed, failure};

const EXAMPLES: &str = "Examples:
  gitauth -host review.example.com -user git-bot -secret-file /run/secrets/bot
  gitauth -secret-manager -global                   what the Go project's robots did
  git -c http.cookiefile=$HOME/.gitcookies fetch    uses the file";

/// Write credentials for git into a file that only its owner can read
#[derive(Parser)]
#[command(name = "gitauth", version, after_help = EXAMPLES)]
struct Args {
    /// Host that takes them; repeat it for more [default: the Go project's]
    #[arg(long)]
    host: Vec<String>,
    /// Who git is to the hosts
    #[arg(long, default_value = "git-gobot.gmail.com")]
    user: String,
    /// Name of the cookie
    #[arg(long, default_value = "o")]
    cookie: String,
    /// File with the secret
    #[arg(long, value_name = "FILE", required_unless_present = "secret_manager")]
    secret_file: Option<PathBuf>,
    /// Take the secret gobot-password of the Google Cloud project that this machine is in
    #[arg(long, conflicts_with = "secret_file")]
    secret_manager: bool,
    /// File to write [default: ~/.gitcookies]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make all git commands of this user use the file
    #[arg(long)]
    global: bool,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let path = match &self.out {
            Some(path) => path.clone(),
            None => cookie_file(home.clone()).map_err(|e| failed(&e))?,
        };
        let credentials = if self.host.is_empty() {
            GitCredentials::new(
                ["go.googlesource.com", "go-review.googlesource.com"],
                &self.user,
            )
        } else {
            GitCredentials::new(&self.host, &self.user)
        };
        let credentials = credentials.map_err(|e| failure(&e))?.cookie(&self.cookie);
        let secret = tokio::select! {
            secret = self.secret() => secret?,
            () = stop.cancelled() => return Err(Failure::interrupted()),
        };
        credentials.write(&path, &secret).map_err(|e| failed(&e))?;
        if self.global {
            let home = home.ok_or_else(|| {
                Failure::usage("HOME is not set", "set HOME, or leave -global out")
            })?;
            configure_global(&home, &path).map_err(|e| failure(&e))?;
        }
        eprintln!("wrote {}", path.display());
        Ok(())
    }

    async fn secret(&self) -> Result<Secret, Failure> {
        if let Some(file) = &self.secret_file {
            let text = std::fs::read_to_string(file).map_err(|error| {
                let error = build_client::Error::caused_by(
                    build_client::ErrorKind::NotFound,
                    format!("reading {}", file.display()),
                    error,
                );
                failed(&error)
            })?;
            return Ok(Secret::new(text));
        }
        let secret = async {
            let metadata = MetadataServer::new("http://metadata.google.internal")?;
            GoogleSecrets::of_instance(metadata)
                .await?
                .get(names::GOBOT_PASSWORD)
                .await
        };
        secret.await.map_err(|e| failure(&e))
    }
}
