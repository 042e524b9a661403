//! The command line: the commands of 2020 and of later, with the flags of both.

use std::path::PathBuf;

use build_client::gomote::Api;
use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "Examples:
  gomote create linux-amd64                       a machine; prints its name
  gomote push user-ann-linux-amd64-0              the Go tree in GOROOT, only what differs
  gomote run user-ann-linux-amd64-0 go/src/make.bash
  gomote -group g create -new-group -count 3 T    three machines in a group
  gomote -group g run -until 'FAIL' go/bin/go test net
  gomote cp INSTANCE:go/pkg/tool ./tool           files from a machine
  gomote ssh INSTANCE                             a shell, by the farm's ssh gateway or the machine's sshd
  gomote run builder@10.0.0.5 /bin/date           a buildlet that is reached directly
  gomote -server gomote.example.org -api grpc list
                                                  a server of later years alone

The coordinator is the one given with -server, -localdev or -staging, or GOMOTE_SERVER; else the
farm that runs on this machine (farmer up), which needs no login.";

/// Use machines of a farm from a terminal
#[derive(Parser)]
#[command(name = "gomote", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// Your name there (default: USER)
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// The coordinator, HOST:PORT with TLS, or http://localhost:PORT
    #[arg(long, value_name = "ADDRESS", env = "GOMOTE_SERVER")]
    pub(super) server: Option<String>,
    /// The development coordinator at localhost:8119
    #[arg(long)]
    pub(super) localdev: bool,
    /// The staging coordinator of the Go project
    #[arg(long)]
    pub(super) staging: bool,
    /// By which interface the coordinator is asked: that of 2020 (http), that of later years
    /// (grpc), or whichever it answers by
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(super) api: ApiArg,
    /// Trust the authority in this file, and no other
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// The data directory of the farm on this machine
    #[arg(long, value_name = "DIR", env = "FARMER_DATA")]
    pub(super) data: Option<PathBuf>,
    /// Use all machines of a group (default: GOMOTE_GROUP)
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Say what is done
    #[arg(long)]
    pub(super) verbose: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The words for [`Api`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ApiArg {
    Auto,
    Http,
    Grpc,
}

impl From<ApiArg> for Api {
    fn from(arg: ApiArg) -> Self {
        match arg {
            ApiArg::Auto => Self::Auto,
            ApiArg::Http => Self::Http,
            ApiArg::Grpc => Self::Grpc,
        }
    }
}

/// What is to be done.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Ask for a machine, wait for it, print its name
    Create(Create),
    /// Give machines back
    Destroy(Destroy),
    /// List your machines
    List,
    /// Ask whether a machine is alive
    Ping(Ping),
    /// Make, change and list groups of machines
    Group {
        /// What is to be done
        #[command(subcommand)]
        command: Group,
    },
    /// Keep a token for a coordinator
    Login(Login),
    /// List files of a machine
    Ls(Ls),
    /// Write one file
    Put(Put),
    /// Have a machine fetch the Go toolchain that it builds with
    #[command(name = "put14", visible_alias = "putbootstrap")]
    Put14(Machines),
    /// Unpack an archive on a machine
    Puttar(PutTar),
    /// Pack a directory of a machine
    Gettar(GetTar),
    /// Copy files from or to a machine (INSTANCE:PATH)
    Cp(Cp),
    /// Remove files
    Rm(Words),
    /// Bring a tree to a machine, only what differs
    Push(Push),
    /// Run a command
    Run(Run),
    /// Get a machine in the state in which a build failed
    Repro(Repro),
    /// Log in by ssh
    Ssh(Ssh),
    /// Connect standard input and output with the machine's sshd (for ssh's ProxyCommand)
    #[command(name = "connect-ssh", hide = true)]
    ConnectSsh(ConnectSsh),
    /// Let connections to a local port end at a port of a machine
    Forward(Forward),
    /// Let a remote desktop program reach a machine
    Rdp(Rdp),
}

#[derive(Args)]
pub(super) struct Create {
    /// Say what is waited for
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) status: bool,
    /// So many machines
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) count: u16,
    /// Make the group that is named first
    #[arg(long)]
    pub(super) new_group: bool,
    /// Push the Go tree and build it there
    #[arg(long)]
    pub(super) setup: bool,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<u64>,
    /// The builder whose machine it is
    #[arg(value_name = "TYPE")]
    pub(super) builder: String,
}

#[derive(Args)]
pub(super) struct Destroy {
    /// All your machines
    #[arg(long)]
    pub(super) all: bool,
    /// The group too
    #[arg(long)]
    pub(super) destroy_group: bool,
    /// The machines
    #[arg(value_name = "INSTANCE")]
    pub(super) names: Vec<String>,
}

#[derive(Args)]
pub(super) struct Ping {
    /// Print work directory and version
    #[arg(long)]
    pub(super) status: bool,
    /// The machine
    #[arg(value_name = "INSTANCE")]
    pub(super) words: Vec<String>,
}

#[derive(Subcommand)]
pub(super) enum Group {
    /// Make a group
    Create {
        /// Its name
        name: String,
    },
    /// Remove a group; its machines live on
    Destroy {
        /// Its name
        name: String,
    },
    /// Add machines to the group of -group
    Add {
        /// The machines
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Take machines out of the group of -group
    Remove {
        /// The machines
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// List groups
    List,
}

#[derive(Args)]
pub(super) struct Login {
    /// Read the token from this file (`-`: standard input, which is the default)
    #[arg(long, value_name = "FILE", conflicts_with = "device")]
    pub(super) token_file: Option<PathBuf>,
    /// Log in at the identity provider of the farm, with any browser; the token is renewed by itself
    #[arg(long)]
    pub(super) device: bool,
    /// The identity provider, when the farm has several or does not say
    #[arg(long, value_name = "URL", requires = "device")]
    pub(super) issuer: Option<String>,
    /// What the farm is called there
    #[arg(long, value_name = "NAME", requires = "issuer")]
    pub(super) client_id: Option<String>,
    /// The file of its secret, when the provider wants one
    #[arg(long, value_name = "FILE", requires = "device")]
    pub(super) client_secret_file: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Machines {
    /// The machine
    #[arg(value_name = "INSTANCE")]
    pub(super) words: Vec<String>,
}

#[derive(Args)]
pub(super) struct Words {
    /// The machine (unless a group is used), then paths
    #[arg(value_name = "INSTANCE PATH", required = true)]
    pub(super) words: Vec<String>,
}

#[derive(Args)]
pub(super) struct Ls {
    /// Directories below too
    #[arg(short = 'R', long = "R")]
    pub(super) recursive: bool,
    /// With digests
    #[arg(short = 'd', long = "d")]
    pub(super) digest: bool,
    /// Leave out these directories
    #[arg(long, value_name = "DIR,DIR", value_delimiter = ',')]
    pub(super) skip: Vec<String>,
    /// The machine (unless a group is used), then a directory
    #[arg(value_name = "INSTANCE DIR")]
    pub(super) words: Vec<String>,
}

#[derive(Args)]
pub(super) struct Put {
    /// The mode in octal (default: that of the file, 0666 for standard input)
    #[arg(long)]
    pub(super) mode: Option<String>,
    /// The machine (unless a group is used), the file or `-`, and where it goes
    #[arg(value_name = "INSTANCE SOURCE DEST", required = true)]
    pub(super) words: Vec<String>,
}

#[derive(Args)]
pub(super) struct PutTar {
    /// Unpack into this directory
    #[arg(long, default_value = "")]
    pub(super) dir: String,
    /// Have the machine fetch the archive
    #[arg(long)]
    pub(super) url: Option<String>,
    /// Have the machine fetch this revision of Go
    #[arg(long, conflicts_with = "url")]
    pub(super) gorev: Option<String>,
    /// The machine (unless a group is used), then a file, a URL, a revision of Go, or `-`
    #[arg(value_name = "INSTANCE SOURCE")]
    pub(super) words: Vec<String>,
}

#[derive(Args)]
pub(super) struct GetTar {
    /// Pack this directory
    #[arg(long, default_value = "")]
    pub(super) dir: String,
    /// Write to this file (`-`: standard output)
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(super) o: Option<PathBuf>,
    /// The machine
    #[arg(value_name = "INSTANCE")]
    pub(super) words: Vec<String>,
}

#[derive(Args)]
pub(super) struct Cp {
    /// Directories with what is in them (the default; as in cp)
    #[arg(short = 'r', long = "r")]
    pub(super) recursive: bool,
    /// From: INSTANCE:PATH or a local path
    pub(super) from: String,
    /// To: the other one
    pub(super) to: String,
}

#[derive(Args)]
pub(super) struct Push {
    /// Say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// The tree to push (default: GOROOT, as a Go tree)
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Where it goes on the machine (default: go, or the work directory with -root)
    #[arg(long, value_name = "DIR")]
    pub(super) remote_dir: Option<String>,
    /// Compute the digests of all files anew, not only of those that look different since the last time
    #[arg(long)]
    pub(super) no_cache: bool,
    /// Push what Git ignores too
    #[arg(long)]
    pub(super) no_ignore: bool,
    /// The machine
    #[arg(value_name = "INSTANCE")]
    pub(super) words: Vec<String>,
}

#[derive(Args, Default)]
pub(super) struct Run {
    /// A program of the system (as for those that begin with a slash)
    #[arg(long)]
    pub(super) system: bool,
    /// Begin the output with what is run
    #[arg(long)]
    pub(super) debug: bool,
    /// Add to the environment
    #[arg(short = 'e', long = "e", value_name = "NAME=VALUE")]
    pub(super) e: Vec<String>,
    /// Without a way to other networks
    #[arg(long)]
    pub(super) firewall: bool,
    /// Elements of PATH; $PATH and $WORKDIR are replaced; EMPTY: none
    #[arg(long, value_name = "DIR,DIR")]
    pub(super) path: Option<String>,
    /// Where it runs
    #[arg(long, default_value = "")]
    pub(super) dir: String,
    /// With the environment of another builder of the same kind of machine
    #[arg(long, value_name = "TYPE")]
    pub(super) builderenv: Option<String>,
    /// Run again until its output matches this
    #[arg(long, value_name = "REGEXP")]
    pub(super) until: Option<String>,
    /// Keep its output, and the files of the machine afterwards, in files here
    #[arg(long)]
    pub(super) collect: bool,
    /// The machine (unless a group is used), the program and its arguments
    #[arg(value_name = "INSTANCE COMMAND", required = true)]
    pub(super) words: Vec<String>,
}

#[derive(Args)]
pub(super) struct Repro {
    /// Run the failed step too
    #[arg(long)]
    pub(super) run: bool,
    /// Open a shell there
    #[arg(long, conflicts_with = "run")]
    pub(super) shell: bool,
    /// The build that failed
    #[arg(value_name = "BUILD")]
    pub(super) build: String,
}

/// Whom ssh logs in as at a machine's own server.
pub(super) const DEFAULT_LOGIN: &str = "root";

impl Ssh {
    /// To a machine, with nothing said.
    pub(super) fn to(name: &str) -> Self {
        Self {
            i_will_not_break_the_host: false,
            forward_agent: false,
            login: DEFAULT_LOGIN.into(),
            key: None,
            words: vec![name.to_owned()],
        }
    }
}

#[derive(Args)]
pub(super) struct Ssh {
    /// Also where a change would be there for the next one (as in 2020; nothing to confirm here)
    #[arg(long)]
    pub(super) i_will_not_break_the_host: bool,
    /// Forward your ssh agent, where the farm lets it: what runs on the machine can have it sign
    #[arg(short = 'A', long = "A")]
    pub(super) forward_agent: bool,
    /// Log in as this user at the machine's own sshd, not at the farm's gateway
    #[arg(long, value_name = "USER", default_value = DEFAULT_LOGIN)]
    pub(super) login: String,
    /// Log in with this key at the machine's own sshd, not at the farm's gateway
    /// (default: ~/.ssh/id_ed25519)
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// The machine, then arguments for ssh
    #[arg(value_name = "INSTANCE ARG", required = true)]
    pub(super) words: Vec<String>,
}

#[derive(Args)]
pub(super) struct ConnectSsh {
    /// The user there
    pub(super) login: String,
    /// The public key
    pub(super) key: PathBuf,
    /// The machine
    pub(super) name: String,
}

#[derive(Args)]
pub(super) struct Forward {
    /// Where to listen (default: a free port of localhost)
    #[arg(
        long = "L",
        short = 'L',
        value_name = "ADDRESS:PORT",
        default_value = "localhost:0"
    )]
    pub(super) listen: String,
    /// The machine
    #[arg(value_name = "INSTANCE")]
    pub(super) name: String,
    /// The port there
    pub(super) port: u16,
}

#[derive(Args)]
pub(super) struct Rdp {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "localhost:3389")]
    pub(super) listen: String,
    /// The machine
    #[arg(value_name = "INSTANCE")]
    pub(super) name: String,
}

impl From<Rdp> for Forward {
    fn from(rdp: Rdp) -> Self {
        Self {
            listen: rdp.listen,
            name: rdp.name,
            port: 3389,
        }
    }
}
