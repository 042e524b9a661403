//! `genbootstrap`: makes trimmed Go toolchains that build Go on machines that have none.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use build_client::bootstrap::{Bootstrap, Target};
use build_client::upload::{Content, Store, Upload};
use build_client::{Error, ErrorKind};
use clap::Parser;
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

const EXAMPLES: &str = "Examples:
  GOROOT=~/go1.4 genbootstrap linux/arm64      makes ~/gobootstrap-linux-arm64.tar.gz
  genbootstrap -goroot ~/go1.4 -json linux/arm linux/386
  genbootstrap -goroot ~/go1.4 -skip_build -upload file:///srv/images linux/arm64

Equal trees make equal bytes. The tree that bootstrap.bash made is left as it is.";

/// Make trimmed Go toolchains that build Go on machines that have none
#[derive(Parser)]
#[command(name = "genbootstrap", version, after_help = EXAMPLES)]
struct Args {
    /// Pack what is there instead of building it with src/bootstrap.bash
    #[arg(long = "skip_build", alias = "skip-build")]
    skip_build: bool,
    /// Go tree to build
    #[arg(long, value_name = "DIR", env = "GOROOT")]
    goroot: Option<PathBuf>,
    /// Directory for the tarballs [default: beside the tree]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Upload them to the store at this URL, unless they are there
    #[arg(long, value_name = "URL")]
    upload: Option<String>,
    /// One JSON object for each tarball on standard output
    #[arg(long)]
    json: bool,
    /// System and processor
    #[arg(value_name = "GOOS/GOARCH", required = true)]
    targets: Vec<Target>,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let goroot = self.goroot.as_ref().ok_or_else(|| {
            let error = Error::new(ErrorKind::Invalid, "GOROOT not set in environment");
            Failure::because(Exit::Failed, &error, Some("or name the tree with -goroot"))
        })?;
        let store = self
            .upload
            .as_ref()
            .map(|url| Store::open(url, []))
            .transpose()
            .map_err(|e| told(&e))?;
        for target in &self.targets {
            let mut bootstrap = Bootstrap::new(goroot, target.clone()).map_err(|e| told(&e))?;
            if let Some(dir) = &self.out {
                bootstrap = bootstrap.output(dir.join(format!("gobootstrap-{target}.tar.gz")));
            }
            let build = !self.skip_build;
            // Standard output is for answers: what the build says goes where messages go.
            let work = tokio::task::spawn_blocking(move || {
                if build {
                    bootstrap.build(Stdio::from(std::io::stderr()))?;
                }
                bootstrap.pack()
            });
            let made = tokio::select! {
                made = work => made.map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?,
                () = stop.cancelled() => return Err(Failure::interrupted()),
            };
            let made = made.map_err(|e| told(&e))?;
            if let Some(store) = &store {
                let name = format!("gobootstrap-{target}.tar.gz");
                let content = Content::from_file(&made.file).map_err(|e| told(&e))?;
                let upload = Upload::new().sha256(&made.sha256);
                upload
                    .put(store, &name, content)
                    .await
                    .map_err(|e| told(&e))?;
            }
            if self.json {
                let text = serde_json::to_string(&made)
                    .map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
                writeln!(std::io::stdout(), "{text}")?;
            } else {
                eprintln!(
                    "Done. Output is {} ({} files, {} bytes)",
                    made.file.display(),
                    made.entries,
                    made.bytes
                );
            }
        }
        Ok(())
    }
}

fn told(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Bug | ErrorKind::Limit => Exit::Infrastructure,
        _ => Exit::Failed,
    };
    Failure::because(exit, error, error.hint())
}
