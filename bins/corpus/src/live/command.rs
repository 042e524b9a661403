//! `farmer corpus`: a corpus of any project, beside the farm or without one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farmer_cli::{Exit, Failure, Out};
use maintner_core::sync::github::estimate::Estimate;
use maintner_core::sync::{Control, Target};
use tokio_util::sync::CancellationToken;

use super::changes;
use super::log::Role;
use super::login::Login;
use super::readers::{Asking, GITHUB, cost, home};
use super::report::failure;
use super::service::{REVIEW, Service};
use super::targets::Targets;

/// Lines for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  farmer corpus add github:octo/app            follow a repository: says the cost, reads everything
  farmer corpus add git:https://host/x.git     a git remote and nothing else
  farmer corpus add gerrit:go.googlesource.com/build
  farmer corpus serve                          keep it in step; http://localhost:6343
  farmer corpus changes | jq .title            what happens, as JSON lines
  farmer corpus ask                            the saved questions
  farmer corpus ask stale-issues --json        one of them, answered";

/// Keep the history of projects at hand: issues, reviews, commits.
#[derive(Debug, clap::Args)]
pub struct Corpus {
    #[command(subcommand)]
    verb: Verb,
    /// A file with a GitHub token, or with user:token [default: ~/.github-issue-token]
    #[arg(long, global = true, value_name = "FILE")]
    github_token_file: Option<PathBuf>,
    /// A GitHub App to act as: ID:INSTALLATION:KEYFILE
    #[arg(long, global = true, value_name = "APP")]
    github_app: Option<String>,
    /// GitHub's interface; that of an Enterprise server ends in /api/v3
    #[arg(long, global = true, value_name = "URL", default_value = GITHUB)]
    github_api: String,
    /// Requests to GitHub a second at most; 0 for no limit
    #[arg(long, global = true, value_name = "N", default_value_t = 10.0)]
    github_rate: f64,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Follow something, and read all of it
    Add {
        /// github:OWNER/REPO, gerrit:HOST/PROJECT or git:URL
        #[arg(required = true)]
        targets: Vec<String>,
        /// Only say what reading it will cost
        #[arg(long)]
        dry_run: bool,
        /// Remember it, and read it later
        #[arg(long)]
        no_sync: bool,
    },
    /// Follow something no more; what was read stays
    Remove {
        /// As `list` prints it
        target: String,
    },
    /// What is followed
    List,
    /// Bring everything in step, once
    Sync,
    /// Keep everything in step, and show it
    Serve {
        /// Address to answer HTTP on
        #[arg(long, default_value = "localhost:6343")]
        listen: String,
        /// Seconds between two looks at a host
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        every: u64,
        /// A file with the secret of webhooks that GitHub sends to /webhook/github
        #[arg(long, value_name = "FILE")]
        webhook_secret_file: Option<PathBuf>,
    },
    /// Print what happens as JSON lines, while something else keeps the corpus in step
    Changes,
    /// Answer a saved question; list them when none is named
    #[cfg(feature = "sql")]
    Ask(crate::ask::Ask),
}

/// The folder of the corpus in a data directory.
pub fn folder(data: &Path) -> PathBuf {
    data.join("corpus")
}

impl Corpus {
    /// Does what was asked, for the corpus below `data`.
    ///
    /// # Errors
    /// When the arguments, a host or the disk are at fault.
    pub async fn run(
        self,
        data: PathBuf,
        json: bool,
        stop: CancellationToken,
    ) -> Result<(), Failure> {
        let folder = folder(&data);
        let control = Control::new();
        let asking = Asking {
            folder: folder.clone(),
            api: self.github_api,
            login: Login {
                token_file: self.github_token_file,
                app: self.github_app,
            },
            rate: self.github_rate,
            home: home(),
            control: control.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let service = |asking: Asking, targets: Vec<Target>| Service {
            folder: folder.clone(),
            role: Role::Leader,
            store: None,
            targets,
            asking,
            listen: None,
            listen_tls: None,
            public: None,
            frozen_url_base: None,
            review: REVIEW.to_owned(),
            once: true,
            costs: BTreeMap::new(),
            verbose: false,
            every: Duration::from_secs(300),
            pubsub: None,
            webhook_secret: None,
        };
        match self.verb {
            Verb::Add {
                targets,
                dry_run,
                no_sync,
            } => {
                let targets = parse(&targets)?;
                let told = asking.clone();
                let costs = blocking(move || tell(&told, &targets, dry_run, json)).await?;
                if dry_run {
                    return Ok(());
                }
                let targets = Targets::of(&folder)?;
                if no_sync {
                    return Ok(());
                }
                let service = Service {
                    costs,
                    ..service(asking, targets.all().to_vec())
                };
                service.run(stop).await
            }
            Verb::Remove { target } => {
                let target: Target = target.parse().map_err(|error| failure(&error))?;
                match Targets::of(&folder)?.remove(&target)? {
                    true => Ok(()),
                    false => Err(Failure::usage(
                        format!("{target} is not followed"),
                        "see: farmer corpus list",
                    )),
                }
            }
            Verb::List => {
                let targets = Targets::of(&folder)?;
                blocking(move || list(&targets, json)).await
            }
            Verb::Sync => {
                let targets = followed(&folder)?;
                service(asking, targets).run(stop).await
            }
            Verb::Serve {
                listen,
                every,
                webhook_secret_file,
            } => {
                let webhook_secret = match webhook_secret_file {
                    Some(path) => Some(crate::maintnerd::secret(&path)?),
                    None => None,
                };
                let serve = Service {
                    listen: Some(listen),
                    once: false,
                    every: Duration::from_secs(every.max(1)),
                    webhook_secret,
                    ..service(asking, followed(&folder)?)
                };
                serve.run(stop).await
            }
            Verb::Changes => {
                let stopped = stop.clone();
                blocking(move || {
                    let corpus = crate::maintq::corpus(&folder)?;
                    let mut out = Out::new();
                    let printed = changes::print(&corpus, &mut out, &|| stopped.is_cancelled());
                    if out.is_closed() { Ok(()) } else { printed }
                })
                .await
            }
            #[cfg(feature = "sql")]
            Verb::Ask(ask) => blocking(move || ask.run(&folder, &data, json)).await,
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?
}

fn parse(targets: &[String]) -> Result<Vec<Target>, Failure> {
    let parse = |text: &String| text.parse().map_err(|error| failure(&error));
    targets.iter().map(parse).collect()
}

fn followed(folder: &Path) -> Result<Vec<Target>, Failure> {
    let targets = Targets::of(folder)?;
    if targets.all().is_empty() {
        return Err(Failure::usage(
            "nothing is followed yet",
            "begin with: farmer corpus add github:OWNER/REPO",
        ));
    }
    Ok(targets.all().to_vec())
}

/// Says what reading will cost, and remembers what is to be read.
fn tell(
    asking: &Asking,
    new: &[Target],
    dry_run: bool,
    json: bool,
) -> Result<BTreeMap<Target, Estimate>, Failure> {
    let mut costs = BTreeMap::new();
    let mut targets = Targets::of(&asking.folder)?;
    for target in new {
        if let Some(estimate) = asking.estimate(target)? {
            if json {
                let line = serde_json::json!({
                    "target": target.to_string(),
                    "issues": estimate.issues,
                    "pull_requests": estimate.pulls,
                    "comments": estimate.comments,
                    "events": estimate.events,
                    "code_comments": estimate.code_comments,
                    "requests": estimate.requests(),
                    "seconds": estimate.time(asking.rate).as_secs(),
                });
                println!("{line}");
            } else {
                eprintln!("{}", cost(target, &estimate, asking.rate));
            }
            costs.insert(target.clone(), estimate);
        }
        if !dry_run && !targets.add(target.clone())? {
            eprintln!("{target} is followed already");
        }
    }
    Ok(costs)
}

fn list(targets: &Targets, json: bool) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = Out::new();
    for target in targets.all() {
        if json {
            writeln!(out, "{}", serde_json::json!({"target": target.to_string()}))?;
        } else {
            writeln!(out, "{target}")?;
        }
    }
    out.flush()?;
    Ok(())
}
