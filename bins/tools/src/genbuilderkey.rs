//! `genbuilderkey`: the key of a builder, a host type or a user.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use build_client::secret::{GoogleSecrets, MetadataServer, SecretSource as _, names};
use build_core::key::{MasterKey, is_principal};
use clap::Parser;
use farmer_cli::{Exit, Failure};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::told::failed;

const EXAMPLES: &str = "Examples:
  genbuilderkey linux-amd64                         the key of a builder
  genbuilderkey -master-file master user-gopher     the key of a gomote user
  genbuilderkey -write user-gopher                  puts it where gomote looks for it
  genbuilderkey -expires 720h host-linux-arm64      a key that ends after thirty days
  genbuilderkey -verify - user-gopher < key         exit code 1 unless it is the key of user-gopher

The master key is the secret builder-master-key of the Google Cloud project that this machine is
in, or else the file ~/keys/gobuilder-master.key.";

/// How long a secret manager may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Print the key of a builder, a host type or a user
#[derive(Parser)]
#[command(name = "genbuilderkey", version, after_help = EXAMPLES)]
struct Args {
    /// Read the master key from this file
    #[arg(long, value_name = "FILE")]
    master_file: Option<PathBuf>,
    /// Read the master key from this variable of the environment
    #[arg(long, value_name = "NAME", conflicts_with = "master_file")]
    env: Option<String>,
    /// For staging: the master key is ~/keys/gobuilder-staging-master.key, -write writes its file
    #[arg(long)]
    staging: bool,
    /// Write the key where gomote looks for it, instead of printing it
    #[arg(long)]
    write: bool,
    /// Check the key in this file (`-`: standard input) instead of printing one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["write", "expires"])]
    verify: Option<PathBuf>,
    /// A key that ends after this time, such as 720h or 30d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// Also for a name that is no user, host type or builder
    #[arg(long)]
    force: bool,
    /// Print name and key as JSON
    #[arg(long)]
    json: bool,
    /// A builder, a host type (host-…) or a user (user-…)
    #[arg(value_name = "PRINCIPAL")]
    principal: String,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time such as 720h or 30d");
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number
        .checked_mul(seconds)
        .filter(|s| *s > 0)
        .map(Duration::from_secs)
        .ok_or_else(bad)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        if !(self.force || is_principal(&self.principal)) {
            return Err(Failure::usage(
                format!("{:?} is no builder, host type or user", self.principal),
                "users begin with user-, host types with host-; -force makes the key all the same",
            ));
        }
        let master = tokio::select! {
            master = self.master() => master?,
            () = stop.cancelled() => return Err(Failure::interrupted()),
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        if let Some(file) = &self.verify {
            let key = read(file)?;
            if master.accepts_at(&self.principal, key.trim(), now.as_secs()) {
                return Ok(());
            }
            let error = build_client::Error::new(
                build_client::ErrorKind::Denied,
                format!("this is no key of {}", self.principal),
            );
            return Err(failed(&error));
        }
        let key = match self.expires {
            Some(time) => master.expiring_key_of(&self.principal, (now + time).as_secs()),
            None => master.key_of(&self.principal),
        };
        if self.write {
            return self.keep(&key);
        }
        if self.json {
            println!("{}", json!({ "principal": self.principal, "key": key }));
        } else {
            println!("{key}");
        }
        Ok(())
    }

    async fn master(&self) -> Result<MasterKey, Failure> {
        let text = if let Some(file) = &self.master_file {
            read(file)?
        } else if let Some(name) = &self.env {
            std::env::var(name).map_err(|_| {
                Failure::usage(
                    format!("the variable {name} is not set"),
                    "name another with -env",
                )
            })?
        } else if let Some(secret) = self.managed().await {
            secret
        } else {
            let file = if self.staging {
                "gobuilder-staging-master.key"
            } else {
                "gobuilder-master.key"
            };
            let path = std::env::home_dir().map(|home| home.join("keys").join(file));
            path.and_then(|path| std::fs::read_to_string(path).ok())
                .ok_or_else(|| {
                    let error = build_client::Error::new(
                        build_client::ErrorKind::NotFound,
                        "no builder master key found",
                    );
                    Failure::because(
                        Exit::Failed,
                        &error,
                        Some("name its file with -master-file"),
                    )
                })?
        };
        MasterKey::new(text).map_err(|e| failed(&e))
    }

    /// The secret of the project that this machine is in, if it is in one.
    async fn managed(&self) -> Option<String> {
        // Where Google's own clients look for another server.
        let host = std::env::var("GCE_METADATA_HOST")
            .unwrap_or_else(|_| "metadata.google.internal".to_owned());
        let asked = async {
            let metadata = MetadataServer::new(format!("http://{host}"))?;
            GoogleSecrets::of_instance(metadata)
                .await?
                .get(names::BUILDER_MASTER_KEY)
                .await
        };
        let secret = tokio::time::timeout(LIMIT, asked).await.ok()?.ok()?;
        Some(secret.reveal().to_owned())
    }

    /// Writes the key into the folder of gomote, readable by its owner alone.
    fn keep(&self, key: &str) -> Result<(), Failure> {
        use std::io::Write as _;
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from);
        let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
        let dir = config
            .ok_or_else(|| Failure::usage("nobody knows where your home is", "set HOME"))?
            .join("gomote");
        std::fs::create_dir_all(&dir)?;
        let before = if self.staging { "staging-" } else { "" };
        let path = dir.join(format!("{before}{}.token", self.principal));
        let mut file = tempfile::Builder::new()
            .prefix(".token")
            .tempfile_in(&dir)?;
        writeln!(file, "{key}")?;
        file.persist(&path)
            .map_err(|error| Failure::from(error.error))?;
        eprintln!("wrote {}", path.display());
        Ok(())
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| {
        let error = build_client::Error::caused_by(
            build_client::ErrorKind::NotFound,
            format!("reading {}", file.display()),
            error,
        );
        failed(&error)
    })
}
