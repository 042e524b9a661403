//! The command line of `farmer`: one definition for `--help`, completions and the manual.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use build_core::plan::Sandbox;
use build_core::recipe::parse_duration;
use clap::{Args, Parser, Subcommand};
use farmer_cli::Shell;
use farmer_corpus::query::Query;

/// Builds every commit of your repository on machines you own.
#[derive(Debug, Parser)]
#[command(name = "farmer", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  farmer up                        build every new commit; http://localhost:8119 shows it
  farmer build                     build the newest commit of the repository around here
  farmer build ../lib --rev v1.2   build a tag of another one
  farmer build --json | jq .kind   the events of a build as JSON lines
  farmer log                       the log of the newest build
  farmer why B0123456789           why a build waits, or how it ended
  farmer query builds state=failed the builds and the history, by conditions or in SQL
  farmer join https://farm:8119    this machine becomes one of that farm
  farmer buildlet --help           a machine for whoever holds its key, with the flags of the Go program

Exit codes: 0 passed, 1 the build failed, 2 bad usage or configuration, 3 the machines failed.";

/// Flags that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Where builds, logs and caches are kept
    #[arg(long, global = true, value_name = "DIR", env = "FARMER_DATA")]
    pub data: Option<PathBuf>,
    /// Print one JSON object per line on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on standard error
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build every new commit, and show it in a browser
    Up(Up),
    /// End the farm that runs
    Down(Down),
    /// Build one commit, stream its log, and tell the outcome
    Build(Build),
    /// Write the detected steps to .farmer.toml
    Init(Init),
    /// Explain what would be run, and check the configuration
    Check(Check),
    /// Print the log of a build
    Log(Log),
    /// List the newest builds
    Status(Status),
    /// Tell why a build waits, or how it ended
    Why(Why),
    /// List and download the files that a build has kept
    #[command(subcommand, after_help = crate::artifact::EXAMPLES)]
    Artifact(ArtifactCommand),
    /// Build the commit of a build again, in the farm that runs
    Rerun(Named),
    /// End a build of the farm that runs, whoever wants it
    Cancel(Named),
    /// What is wanted of the farm that runs, and to take it back
    #[command(subcommand, after_help = crate::wish::EXAMPLES)]
    Wish(crate::wish::WishCommand),
    /// Repositories: list them, say that one is called or lies otherwise
    #[command(subcommand, after_help = crate::repo::EXAMPLES)]
    Repo(crate::repo::RepoCommand),
    /// Get a machine in the state in which a build failed: farmer repro [-run] BUILD
    #[command(disable_help_flag = true)]
    Repro {
        /// As for `gomote repro`
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        args: Vec<OsString>,
    },
    /// Open a shell on a machine in the state in which a build failed: farmer ssh BUILD
    #[command(disable_help_flag = true)]
    Ssh {
        /// As for `gomote repro -shell`
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        args: Vec<OsString>,
    },
    /// Ask the history of a repository and the builds, by conditions or in SQL
    #[command(after_help = crate::query::EXAMPLES)]
    Query(Query),
    /// Follow projects on GitHub, Gerrit or git: their whole history, kept in step
    #[command(after_help = farmer_corpus::live::command::EXAMPLES)]
    Corpus(farmer_corpus::live::command::Corpus),
    /// Make this machine one of a farm
    #[command(after_help = crate::join::EXAMPLES)]
    Join(crate::join::Join),
    /// Machines: what each does, which are set aside and why, to use one again
    #[command(subcommand, after_help = crate::machine::EXAMPLES)]
    Machine(crate::machine::MachineCommand),
    /// What is to be told and done, and what was given up
    #[command(subcommand, after_help = OUTBOX_EXAMPLES)]
    Outbox(OutboxCommand),
    /// Keys of people and machines: make, list, revoke
    #[command(subcommand, after_help = crate::key::EXAMPLES)]
    Key(crate::key::KeyCommand),
    /// People, and what they may do
    #[command(subcommand, after_help = crate::user::EXAMPLES)]
    User(crate::user::UserCommand),
    /// Look at everything that is kept, and say what is wrong and what to do
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Write the whole farm into one file, while it runs
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Backup),
    /// Make a data directory of such a file
    #[command(after_help = BACKUP_EXAMPLES)]
    Restore(Restore),
    /// Measure this machine with Farmer's own parts
    Bench(Bench),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
    /// A classic program by its name, or `farmer-NAME` on PATH
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

const OUTBOX_EXAMPLES: &str = "\
Examples:
  farmer outbox list                                  what each reader has to do
  farmer outbox retry notify                          try everything again that it gave up
  farmer outbox retry notify chat/broken/B0123456789  try one again
  farmer outbox forget notify chat/broken/B0123456789 never mind";

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// List the readers of the farm that runs, and what each has to do
    List,
    /// Try again what was given up, for a week; a reader that has stopped reads on
    Retry {
        /// Whose, such as notify
        reader: String,
        /// One of them [default: all]
        key: Option<String>,
    },
    /// Forget something that was given up
    Forget {
        /// Whose
        reader: String,
        /// Which
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Paths and URLs
    #[arg(default_value = ".")]
    pub repos: Vec<String>,
    /// Watch these branches too, besides the default one; may be given more than once
    #[arg(long, value_name = "GLOB")]
    pub branch: Vec<String>,
    /// Build the tags that match and come from now on; may be given more than once
    #[arg(long, value_name = "GLOB")]
    pub tag: Vec<String>,
    /// The settings of the farm [default: farmer.toml in the data directory]
    #[arg(long, value_name = "FILE", env = "FARMER_FARM")]
    pub farm: Option<PathBuf>,
    /// The address to answer on [default: 127.0.0.1]
    #[arg(long, value_name = "IP", env = "FARMER_ADDR")]
    pub addr: Option<IpAddr>,
    /// The port to answer on; 0 takes any free one [default: 8119]
    #[arg(long, env = "FARMER_PORT")]
    pub port: Option<u16>,
    /// A name under which this machine is opened, besides localhost and its addresses
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Let users into their sessions over ssh, scp, sftp and rsync at this port, or IP:PORT
    #[arg(long, value_name = "ADDR", env = "FARMER_SSH", value_parser = crate::ssh::address)]
    pub ssh: Option<SocketAddr>,
    /// Send each build as a trace to this collector of OpenTelemetry, such as http://localhost:4318
    #[arg(long, value_name = "URL", env = "FARMER_OTLP")]
    pub otlp: Option<String>,
    /// Write down what commands say to those users, in the folder ssh/transcripts of the data directory
    #[arg(long, env = "FARMER_SSH_RECORD", requires = "ssh")]
    pub ssh_record: bool,
    /// Let those users have their ssh agents forwarded (ssh -A): what runs on their machine can then sign with their keys
    #[arg(long, env = "FARMER_SSH_AGENT", requires = "ssh")]
    pub ssh_agent: bool,
    /// Take the steps from this file, not from the commits
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Machines to start at most [default: as many as cores]
    #[arg(long, value_name = "N", env = "FARMER_MACHINES")]
    pub machines: Option<u32>,
    /// How builds are kept apart from this machine: auto, none, user or namespaces [default: auto]
    #[arg(long, value_name = "LEVEL", env = "FARMER_SANDBOX", value_parser = sandbox)]
    pub sandbox: Option<Sandbox>,
    /// Keep packed sources, caches and artifacts in this object store, such as s3://BUCKET/PREFIX [default: blobs in the data directory]
    #[arg(long, value_name = "URL", env = "FARMER_BLOBS")]
    pub blobs: Option<String>,
    /// How long logs are kept after a build has ended; results are kept for ever [default: 90d]
    #[arg(long, value_name = "TIME", env = "FARMER_KEEP_LOGS", value_parser = duration)]
    pub keep_logs: Option<Duration>,
}

/// How a farm encrypts what it says.
#[derive(Debug, Default, Args)]
pub(crate) struct TlsArgs {
    /// Encrypt with this certificate: its chain as PEM; read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        env = "FARMER_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, as PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "FARMER_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Encrypt with a certificate for this machine, by an authority in the data directory
    #[arg(long, conflicts_with = "tls_cert")]
    pub tls_dev: bool,
    /// Encrypt with a certificate for this name from an authority, which must reach port 443 of it;
    /// may be given more than once. Using it agrees to the terms of the authority
    #[arg(
        long,
        value_name = "DOMAIN",
        env = "FARMER_ACME",
        value_delimiter = ',',
        conflicts_with_all = ["tls_cert", "tls_dev"]
    )]
    pub acme: Vec<String>,
    /// Whom the authority writes to when something is wrong
    #[arg(long, value_name = "ADDRESS", requires = "acme")]
    pub acme_mail: Option<String>,
    /// The directory of the authority [default: that of Let's Encrypt]
    #[arg(long, value_name = "URL", requires = "acme")]
    pub acme_directory: Option<String>,
    /// The certificate by which the authority itself is known, when this machine does not trust it
    #[arg(long, value_name = "FILE", requires = "acme_directory")]
    pub acme_root: Option<PathBuf>,
    /// An object store in which certificates are kept [default: acme in the data directory]
    #[arg(long, value_name = "URL", requires = "acme")]
    pub acme_cache: Option<String>,
    /// Answer other machines without encryption too
    #[arg(long)]
    pub insecure_http: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| with_hint(&e))
}

fn sandbox(text: &str) -> Result<Sandbox, String> {
    Sandbox::parse(text).map_err(|e| with_hint(&e))
}

fn with_hint(error: &build_core::Error) -> String {
    match error.hint() {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Then remove everything that was kept: builds, logs, caches, the token
    #[arg(long)]
    pub purge: bool,
    /// End the machines of open sessions too; without it the next start finds them again
    #[arg(long)]
    pub sessions: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The build
    pub build: String,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// A path or a URL
    #[arg(default_value = ".")]
    pub repo: String,
    /// The commit: a branch, a tag, a hash [default: the newest]
    #[arg(long)]
    pub rev: Option<String>,
    /// Take the steps from this file, not from the commit
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Build the uncommitted files too
    #[arg(long)]
    pub worktree: bool,
    /// Begin with nothing that an earlier build has left warm
    #[arg(long)]
    pub cold: bool,
    /// Build on this builder only; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub builder: Vec<String>,
    /// Machines to start at most [default: as many as cores]
    #[arg(long, value_name = "N")]
    pub machines: Option<u32>,
    /// How it is kept apart from this machine: auto, none, user or namespaces [default: auto]
    #[arg(long, value_name = "LEVEL", env = "FARMER_SANDBOX", value_parser = sandbox)]
    pub sandbox: Option<Sandbox>,
    /// Do not print the log
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The repository
    #[arg(default_value = ".")]
    pub repo: PathBuf,
    /// Replace a .farmer.toml that is there
    #[arg(long)]
    pub force: bool,
    /// Print the file and write nothing
    #[arg(long)]
    pub print: bool,
    /// Take the commands of this CI file: a GitHub workflow, .gitlab-ci.yml, .woodpecker, .buildkite
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The repository
    #[arg(default_value = ".")]
    pub repo: PathBuf,
    /// Check this file, not the .farmer.toml of the repository
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check these settings of a farm [default: farmer.toml in the data directory]
    #[arg(long, value_name = "FILE", env = "FARMER_FARM")]
    pub farm: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The build; the newest when not given
    pub build: Option<String>,
    /// Only this step
    #[arg(long, value_name = "NAME")]
    pub step: Option<String>,
    /// The recorded events, not the output
    #[arg(long)]
    pub events: bool,
    /// Only the last N lines of each step
    #[arg(long, value_name = "N")]
    pub tail: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactCommand {
    /// List them: the step, bytes, the path
    List {
        /// The build; the newest when not given
        build: Option<String>,
        /// Only of this step
        #[arg(long, value_name = "NAME")]
        step: Option<String>,
    },
    /// Download them
    Download(Download),
}

#[derive(Debug, Args)]
pub(crate) struct Download {
    /// The build
    pub build: String,
    /// Which: patterns of paths, such as 'out/**' [default: all]
    pub paths: Vec<String>,
    /// Only of this step
    #[arg(long, value_name = "NAME")]
    pub step: Option<String>,
    /// Into this directory [default: one named like the build]
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// How many builds
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The build; the newest when not given
    pub build: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Make again what can be made again; no farm may run meanwhile
    #[arg(long)]
    pub mend: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file, which must not be there yet; keys and tokens are in it
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file that a backup was written into
    pub file: PathBuf,
}

const BACKUP_EXAMPLES: &str = "\
Examples:
  farmer backup farm-$(date +%F).backup            events, logs, kept files, users, keys, settings
  farmer --data /srv/farm restore farm.backup      into a directory that is empty or not there
  farmer --data /tmp/look restore farm.backup && farmer --data /tmp/look status

Caches and copies of repositories are left out: the next builds make them again.

Exit codes: 0 done, 2 the file or the directory is not as it must be, 3 it cannot be read or written.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  farmer doctor          what is wrong with the data directory, also while a farm runs
  farmer doctor --mend   folds damaged rows again from events, removes damaged caches
  farmer doctor --json   one JSON object for each finding

Exit codes: 0 all is well or was mended, 1 something is wrong, 3 it cannot be looked at.";

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Which; all when not given
    #[arg(value_enum)]
    pub names: Vec<crate::bench::Name>,
    #[cfg(feature = "sim")]
    #[command(flatten)]
    pub chaos: crate::bench::chaos::Chaos,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_the_buildlet_are_left_to_it() {
        let cli = Cli::parse_from(["farmer", "buildlet", "-workdir=x", "--halt=false"]);
        let Command::Other(args) = cli.command else {
            panic!("not passed on")
        };
        assert_eq!(args, ["buildlet", "-workdir=x", "--halt=false"]);
    }
}
