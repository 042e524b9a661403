//! `maintnerd`: keeps a mutation log in step with Gerrit, GitHub and git, with the flags of the
//! Go program.

mod preset;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use build_server::https::acme::Autocert;
use clap::{ArgAction, Parser};
use farmer_cli::{CertificateArgs, Exit, Failure};
use maintner_core::godata::GO_SERVER;
use maintner_core::sync::{Control, SyncError, Target};
use tokio_util::sync::CancellationToken;

use self::preset::Preset;
use crate::live::doors::Public;
use crate::live::log::{Role, Store};
use crate::live::login::Login;
use crate::live::readers::{Asking, GITHUB, home};
use crate::live::report::failure;
use crate::live::service::{REVIEW, Service};

const EXAMPLES: &str = "Examples:
  maintnerd -watch-github=golang/go -data-dir=corpus    follow a repository; http://localhost:6343
  maintnerd -watch-gerrit=go.googlesource.com/build -data-dir=corpus -sync-and-quit
  maintnerd -watch-git=https://go.googlesource.com/tools -data-dir=corpus
  maintnerd -watch-github=golang/go -bucket=s3://logs/go   a copy of the log in an object store
  maintnerd -config=go                                     what the Go project follows
  maintnerd -config=go -listen=:80 -autocert=maintner.example.org   with a public certificate
  maintwatch -server=http://localhost:6343/logs            what happens, from the running one

Exit codes: 0 done; 2 bad usage; 3 a host or the machine failed; what was read is kept.";

/// Keeps a log of everything that happens in repositories and projects
#[derive(Parser, Debug)]
#[command(name = "maintnerd", version, after_help = EXAMPLES)]
struct Args {
    /// Address to answer HTTP on
    #[arg(long, default_value = "localhost:6343")]
    listen: String,
    /// Bring everything in step once, and end
    #[arg(long)]
    sync_and_quit: bool,
    /// Load the log, say how long that took, and end
    #[arg(long)]
    init_and_quit: bool,
    /// Say what is done
    #[arg(long)]
    verbose: bool,
    /// The same
    #[arg(long)]
    debug: bool,
    /// Write mutations; otherwise only show the log
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    generate_mutations: bool,
    /// GitHub repositories to follow: owner/repo,owner2/repo2
    #[arg(long, default_value = "", hide_default_value = true)]
    watch_github: String,
    /// Gerrit projects to follow: host/project,host2/project2
    #[arg(long, default_value = "", hide_default_value = true)]
    watch_gerrit: String,
    /// Git repositories to follow: URLs, with commas between them
    #[arg(long, default_value = "", hide_default_value = true)]
    watch_git: String,
    /// Base URL of a pubsub server that tells when there is news
    #[arg(
        long,
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    pubsub: String,
    /// A preset: go (what the Go project follows), godata (shows the log of the Go project's
    /// server), devgo (begins with that log, and goes on as go)
    #[arg(long, default_value = "", hide_default_value = true)]
    config: String,
    /// The log server of the presets godata and devgo
    #[arg(long, value_name = "URL", default_value = GO_SERVER)]
    godata_server: String,
    /// Folder of the log, with mirrors and notes beside it [default: ~/var/maintnerd]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// An object store with a copy of the log: BUCKET/PREFIX or gs://BUCKET/PREFIX,
    /// s3://BUCKET/PREFIX, file:///DIR; its credentials are in the environment
    #[arg(long, default_value = "", hide_default_value = true)]
    bucket: String,
    /// Take the bucket's log also from a writer that was heard of a moment ago
    #[arg(long, requires = "bucket")]
    take_over: bool,
    /// Copy the log of the data directory into the bucket, and end
    #[arg(long)]
    migrate_disk_to_gcs: bool,
    /// Addresses of complete segments begin with this instead of leading here, such as
    /// https://storage.googleapis.com/BUCKET/, where Go clients keep them for good
    #[arg(long, value_name = "URL")]
    frozen_url_base: Option<String>,
    /// A port of localhost for TLS, with a certificate of its own; 0 for none
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    dev_tls_port: u16,
    /// The same at any address: HOST:PORT
    #[arg(long, value_name = "ADDRESS", conflicts_with = "dev_tls_port")]
    listen_https_selfsigned: Option<String>,
    #[command(flatten)]
    certificate: CertificateArgs,
    /// Where to answer with the certificate of -autocert
    #[arg(long, value_name = "ADDRESS", default_value = ":443")]
    listen_https: String,
    /// The review server that is asked for try work
    #[arg(long, value_name = "URL", default_value = REVIEW)]
    review: String,
    /// Requests to GitHub a second at most; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    github_rate: f64,
    /// A file with a GitHub token, or with user:token [default: ~/.github-issue-token]
    #[arg(long, value_name = "FILE")]
    github_token_file: Option<PathBuf>,
    /// A GitHub App to act as: ID:INSTALLATION:KEYFILE
    #[arg(long, value_name = "APP", conflicts_with = "github_token_file")]
    github_app: Option<String>,
    /// GitHub's interface; that of an Enterprise server ends in /api/v3
    #[arg(long, value_name = "URL", default_value = GITHUB)]
    github_api: String,
    /// A file with the secret of webhooks that GitHub sends to /webhook/github
    #[arg(long, value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
    /// Seconds between two looks at a host that says nothing by itself
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    every: u64,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, async |args: Args, stop| args.run(stop).await)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let preset = Preset::of(&self.config, &self.watched())?;
        let targets = match &preset {
            Some(preset) => preset.targets()?,
            None => self.targets()?,
        };
        let folder = self.folder()?;
        let store = match self.bucket.as_str() {
            "" => None,
            name => Some(Store::new(name, self.take_over)?),
        };
        if self.migrate_disk_to_gcs {
            let store = store.ok_or_else(|| {
                Failure::usage(
                    "--bucket flag required with --migrate-disk-to-gcs",
                    "name where the log goes: -bucket=BUCKET/PREFIX",
                )
            })?;
            return store.migrate(&folder).await;
        }
        if preset == Some(Preset::DevGo) {
            preset::begin_with(&self.godata_server, &folder).await?;
        }
        if self.init_and_quit {
            return self.init_and_quit(folder).await;
        }
        let webhook_secret = match &self.webhook_secret_file {
            Some(path) => Some(secret(path)?),
            None => None,
        };
        let asking = Asking {
            folder: folder.clone(),
            api: self.github_api.clone(),
            login: Login {
                token_file: self.github_token_file.clone(),
                app: self.github_app.clone(),
            },
            rate: self.github_rate,
            home: home(),
            control: Control::new(),
            runtime: tokio::runtime::Handle::current(),
        };
        let pubsub = match (&preset, self.pubsub.as_str()) {
            (Some(preset), "") => preset.pubsub().map(str::to_owned),
            (_, base) => Some(base.to_owned()).filter(|base| !base.is_empty()),
        };
        let service = Service {
            folder: folder.clone(),
            role: match preset {
                Some(Preset::Godata) => Role::Godata(self.godata_server.clone()),
                _ if self.generate_mutations => Role::Leader,
                _ => Role::Reader,
            },
            store,
            targets,
            asking,
            listen_tls: self.listen_tls(),
            public: self.public(&folder),
            listen: Some(self.listen),
            frozen_url_base: self.frozen_url_base,
            review: self.review,
            once: self.sync_and_quit,
            costs: BTreeMap::new(),
            verbose: self.verbose || self.debug,
            every: Duration::from_secs(self.every.max(1)),
            pubsub,
            webhook_secret,
        };
        service.run(stop).await
    }

    /// Where it answers with a certificate of an authority, which is kept in the folder of the
    /// log when nobody says where.
    fn public(&self, folder: &std::path::Path) -> Option<Public> {
        let hosts = self.certificate.names();
        let kept = || folder.join("autocert").display().to_string();
        let certificate = Autocert {
            cache: self.certificate.cache().unwrap_or_else(kept),
            directory: self.certificate.autocert_directory.clone(),
            root: self.certificate.autocert_root.clone(),
            contact: self.certificate.autocert_mail.clone(),
            hosts,
        };
        let address = self.listen_https.clone();
        (!certificate.hosts.is_empty()).then_some(Public {
            address,
            certificate,
        })
    }

    fn listen_tls(&self) -> Option<String> {
        let port = Some(self.dev_tls_port).filter(|port| *port != 0);
        let local = port.map(|port| format!("localhost:{port}"));
        self.listen_https_selfsigned.clone().or(local)
    }

    /// The flags that name what is followed, which presets exclude.
    fn watched(&self) -> Vec<&'static str> {
        let lists = [
            ("github", &self.watch_github),
            ("gerrit", &self.watch_gerrit),
            ("git", &self.watch_git),
        ];
        let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
        given.map(|(name, _)| name).collect()
    }

    fn folder(&self) -> Result<PathBuf, Failure> {
        let usual = || Some(home()?.join("var/maintnerd"));
        self.data_dir.clone().or_else(usual).ok_or_else(|| {
            Failure::usage(
                "no place for the log: HOME is not set",
                "give one with -data-dir=DIR",
            )
        })
    }

    fn targets(&self) -> Result<Vec<Target>, Failure> {
        type Parse = fn(&str) -> Result<Target, SyncError>;
        let lists: [(&str, Parse); 3] = [
            (&self.watch_github, Target::github),
            (&self.watch_gerrit, Target::gerrit),
            (&self.watch_git, Target::git),
        ];
        let mut targets = Vec::new();
        for (list, parse) in lists {
            for text in list.split(',').filter(|text| !text.is_empty()) {
                let target = parse(text).map_err(|error| failure(&error))?;
                if targets.contains(&target) {
                    return Err(Failure::usage(
                        format!("{target} is named twice"),
                        "name each only once",
                    ));
                }
                targets.push(target);
            }
        }
        Ok(targets)
    }

    async fn init_and_quit(&self, folder: PathBuf) -> Result<(), Failure> {
        let started = std::time::Instant::now();
        let loaded = tokio::task::spawn_blocking(move || crate::maintq::corpus(&folder));
        let corpus = loaded
            .await
            .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))??;
        println!(
            "Loaded data in {:?}. Memory: {} MB ({} bytes)",
            started.elapsed(),
            crate::gostats::resident_bytes() >> 20,
            crate::gostats::resident_bytes()
        );
        drop(corpus);
        Ok(())
    }
}

/// The secret of a file, without the line end.
pub(crate) fn secret(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let text = std::fs::read(path).map_err(|error| {
        let error = anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
        Failure::because(Exit::Usage, error.as_ref(), None)
    })?;
    let secret = text.trim_ascii().to_vec();
    if secret.is_empty() {
        return Err(Failure::usage(
            format!("{} holds no secret", path.display()),
            "write the secret that the webhook was made with",
        ));
    }
    Ok(secret)
}
