//! `updatecontrib`: brings a file of contributors up to date with the authors of repositories.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_client::contributors::{
    Config, Contributors, GitHubProfiles, NoProfiles, Profiles, Repo, authors, update,
};
use build_client::{Error, ErrorKind};
use clap::Parser;
use farmer_cli::{Exit, Failure, Out};

const EXAMPLES: &str = "Examples:
  updatecontrib                       CONTRIBUTORS of the repository in this directory
  updatecontrib -check                exit code 1 when somebody is missing
  updatecontrib -config contributors.toml -file doc/CONTRIBUTORS

A configuration:
  ignore_commits = [\"0123abc\"]
  ignore_emails = [\"nobody@example.com\"]
  valid_names = [\"Plato\"]
  [email]
  \"typo@exmaple.com\" = \"right@example.com\"
  [name]
  \"annx\" = \"Ann X\"
  [[repo]]
  name = \"main\"
  dir = \".\"
  url = \"https://example.com/main\"
  github = \"example/main\"
  branch = \"origin/master\"

A GitHub token is read from ~/.github-updatecontrib-token, when it is there.";

/// Bring a file of contributors up to date with the authors of repositories
#[derive(Parser)]
#[command(name = "updatecontrib", version, after_help = EXAMPLES)]
struct Args {
    /// The file
    #[arg(long, default_value = "CONTRIBUTORS")]
    file: PathBuf,
    /// Repositories, and what is wrong in them [default: the repository in this directory]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// GitHub name of the repository in this directory
    #[arg(long, value_name = "OWNER/NAME", default_value = "golang/go")]
    github: String,
    /// Branch of the repository in this directory
    #[arg(long, default_value = "origin/master")]
    branch: String,
    /// Write nothing; exit code 1 when something would be written
    #[arg(long)]
    check: bool,
    /// Neither fetch nor ask GitHub
    #[arg(long)]
    offline: bool,
    /// Address of GitHub's API
    #[arg(long, value_name = "URL", default_value = "https://api.github.com")]
    api: String,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::blocking(args, Args::run)
}

impl Args {
    fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let config = self.config()?;
        let text = read(&self.file)?;
        let mut file = Contributors::parse(&text);
        let authors =
            authors(&config, self.offline, &|line| eprintln!("{line}")).map_err(|e| failed(&e))?;
        let profiles = self.profiles()?;
        let report = tokio::runtime::Handle::current().block_on(update(
            &mut file,
            &authors,
            &config,
            profiles.as_ref(),
        ));
        let new = file.text();
        if self.json {
            let line = serde_json::to_string(&report)
                .map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
            writeln!(out, "{line}")?;
        } else if !report.actions.is_empty() {
            writeln!(out, "Actions taken:")?;
            report
                .actions
                .iter()
                .try_for_each(|line| writeln!(out, "{line}"))?;
        }
        for line in report.errors.iter().chain(&report.warnings) {
            eprintln!("{line}");
        }
        if self.check {
            return if new == text && report.errors.is_empty() {
                Ok(())
            } else {
                Err(Failure::silent(Exit::Failed))
            };
        }
        if new != text {
            let dir = self
                .file
                .parent()
                .filter(|dir| !dir.as_os_str().is_empty())
                .unwrap_or_else(|| Path::new("."));
            let whole = dir.join(format!(
                ".{}.new",
                self.file.file_name().unwrap_or_default().to_string_lossy()
            ));
            std::fs::write(&whole, new).and_then(|()| std::fs::rename(&whole, &self.file))?;
        }
        if report.errors.is_empty() {
            Ok(())
        } else {
            Err(Failure::silent(Exit::Failed))
        }
    }

    fn config(&self) -> Result<Config, Failure> {
        if let Some(file) = &self.config {
            return Config::parse(&read(file)?).map_err(|e| {
                Failure::because(
                    Exit::Usage,
                    &e.while_doing(file.display().to_string()),
                    None,
                )
            });
        }
        let here = Repo {
            name: self.github.clone(),
            dir: PathBuf::from("."),
            // Its own remote.
            url: "origin".to_owned(),
            github: self.github.clone(),
            branch: self.branch.clone(),
        };
        Ok(Config {
            repo: vec![here],
            ..Config::default()
        })
    }

    fn profiles(&self) -> Result<Box<dyn Profiles>, Failure> {
        if self.offline {
            return Ok(Box::new(NoProfiles));
        }
        let home = std::env::home_dir();
        let token = home.as_ref().and_then(|home| {
            std::fs::read_to_string(home.join(".github-updatecontrib-token")).ok()
        });
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from);
        let cache = cache
            .or_else(|| Some(home?.join(".cache")))
            .map(|dir| dir.join("updatecontrib-github"));
        let profiles =
            GitHubProfiles::new(&self.api, token.map(|token| token.trim().to_owned()), cache);
        Ok(Box::new(profiles.map_err(|e| failed(&e))?))
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        failed(&Error::caused_by(
            ErrorKind::NotFound,
            format!("reading {}", file.display()),
            error,
        ))
    })
}

fn failed(error: &Error) -> Failure {
    Failure::because(Exit::Failed, error, error.hint())
}
