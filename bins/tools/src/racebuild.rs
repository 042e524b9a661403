//! `racebuild`: builds the race detector's libraries for a Go tree.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use build_client::address_pool::AddressPool;
use build_client::racebuild::{GoChange, Job, run};
use build_client::{ErrorKind, HttpBuildlet};
use build_core::ids::{HostType, MachineId};
use build_core::pool::Pool;
use build_core::racebuild::{Recipe, go_recipes, select};
use build_core::schedule::Machine;
use build_server::pool::LocalPool;
use clap::Parser;
use farmer_cli::{Exit, Failure};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::told::{failed, failure};

const EXAMPLES: &str = "Examples:
  racebuild -goroot ~/go -rev 51bfeff0e4b0757ff773da6882f4d538996c9b04 -platforms linux/amd64
      on a machine of this machine
  racebuild -goroot ~/go -rev 51bfeff0 -buildlet linux/amd64=10.0.0.5:80 -buildlet netbsd/amd64=10.0.0.6:80 -platforms linux/amd64,netbsd/amd64
      on two buildlets that run already
  racebuild -goroot ~/go -rev 51bfeff0 -llvm-patch fix.diff -cherrypick refs/changes/07/350007/3
      with a patch of LLVM, on top of a change of Go

Exit codes: 0 all libraries are built, 1 one failed, 2 bad usage, 3 no machine or a machine was lost.";

/// Build the race detector's libraries for a Go tree
#[derive(Parser)]
#[command(name = "racebuild", version, after_help = EXAMPLES)]
struct Args {
    /// Go repository that gets the libraries (required)
    #[arg(long, value_name = "DIR")]
    goroot: PathBuf,
    /// Revision of llvm-project (required)
    #[arg(long)]
    rev: String,
    /// Go revision to build with; HEAD is that of -goroot
    #[arg(long, default_value = "HEAD")]
    gorev: String,
    /// Platforms to build for, separated by commas, or `all`
    #[arg(long, default_value = "all")]
    platforms: String,
    /// A running buildlet for a platform; repeat it for more
    #[arg(long, value_name = "OS/ARCH=HOST:PORT")]
    buildlet: Vec<String>,
    /// Program that is a buildlet when called with `buildlet`, for machines of this machine
    /// [default: `farmer` beside this program, or on PATH]
    #[arg(long, value_name = "PROGRAM")]
    local_program: Option<PathBuf>,
    /// Script to run instead of the recipe's
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Tarball of a Go that builds Go, unpacked into go1.4 on the machine
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,
    /// Patch to apply to llvm-project; it should change the directory compiler-rt alone
    #[arg(long, value_name = "FILE")]
    llvm_patch: Option<PathBuf>,
    /// Change of Gerrit to pick on top of the Go revision, refs/changes/NN/NUMBER/PATCHSET
    #[arg(long, value_name = "REF")]
    cherrypick: Option<String>,
    /// Change of Gerrit to check out instead
    #[arg(long, value_name = "REF", conflicts_with = "cherrypick")]
    checkout: Option<String>,
    /// Take the library also when the script fails after it was built
    #[arg(long)]
    copyonfail: bool,
    /// More environment for the scripts; repeat it for more
    #[arg(short = 'e', value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Ask for a machine so often
    #[arg(long, value_name = "N", default_value_t = 10)]
    attempts: u32,
    /// One JSON object for each platform on standard output
    #[arg(long)]
    json: bool,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let recipes = self.recipes()?;
        let job = Job {
            bootstrap: self.bootstrap.clone(),
            llvm_patch: self.llvm_patch.clone(),
            go_change: self.go_change()?,
            copy_on_fail: self.copyonfail,
            env: self.env.clone(),
            attempts: self.attempts,
            ..Job::new(&self.goroot, &self.rev, self.go_rev()?)
        };
        eprintln!("using Go revision: {}", job.go_rev);
        let local = if self.buildlet.is_empty() {
            Some(self.local()?)
        } else {
            None
        };
        let addresses = self.addresses()?;
        let pool: &dyn Pool = match &local {
            Some(pool) => pool,
            None => &addresses,
        };
        // One platform: its output as it comes. Several: each line says whose it is.
        let alone = recipes.len() == 1;
        let told = |platform: &str, bytes: &[u8]| {
            let mut err = std::io::stderr().lock();
            let text = String::from_utf8_lossy(bytes);
            let written = if alone {
                err.write_all(bytes)
            } else {
                text.lines()
                    .try_for_each(|line| writeln!(err, "{platform}: {line}"))
            };
            // When standard error is gone there is nobody left to tell.
            let _gone = written;
        };
        let results = run(&job, &recipes, pool, &stop, &told)
            .await
            .map_err(|e| failure(&e));
        if let Some(pool) = &local {
            pool.close().await.map_err(|e| failure(&e))?;
        }
        self.tell(results?)
    }

    fn go_change(&self) -> Result<Option<GoChange>, Failure> {
        if let Some(file) = self.llvm_patch.as_ref().filter(|file| !file.is_file()) {
            let text = format!("no patch {}", file.display());
            return Err(Failure::usage(text, "name a file with -llvm-patch"));
        }
        let change = match (&self.cherrypick, &self.checkout) {
            (Some(name), _) => GoChange::CherryPick(name.clone()),
            (None, Some(name)) => GoChange::Checkout(name.clone()),
            (None, None) => return Ok(None),
        };
        let (GoChange::CherryPick(name) | GoChange::Checkout(name)) = &change;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'/';
        if !name.starts_with("refs/changes/") || !name.bytes().all(plain) {
            let text = format!("{name:?} is no ref of a change");
            return Err(Failure::usage(
                text,
                "write refs/changes/NN/NUMBER/PATCHSET",
            ));
        }
        Ok(Some(change))
    }

    fn recipes(&self) -> Result<Vec<Recipe>, Failure> {
        let unknown = |e: &build_client::Error| failed(e);
        let mut recipes = select(&go_recipes(), &self.platforms).map_err(|e| unknown(&e))?;
        if let Some(file) = &self.script {
            let script = std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(
                    format!("reading {}: {error}", file.display()),
                    "name a script with -script",
                )
            })?;
            for recipe in &mut recipes {
                recipe.script.clone_from(&script);
            }
        }
        Ok(recipes)
    }

    fn go_rev(&self) -> Result<String, Failure> {
        let output = Command::new("git")
            .args([
                "rev-parse",
                "--verify",
                "--end-of-options",
                &format!("{}^{{commit}}", self.gorev),
            ])
            .current_dir(&self.goroot)
            .output()
            .map_err(|error| {
                Failure::usage(
                    format!("cannot run git in {}: {error}", self.goroot.display()),
                    "name the root of a Go repository with -goroot",
                )
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let what = format!(
            "no Go revision {:?} in {}: {text}",
            self.gorev,
            self.goroot.display()
        );
        Err(Failure::usage(what, "name another with -gorev"))
    }

    fn local(&self) -> Result<LocalPool, Failure> {
        let program = match &self.local_program {
            Some(program) => program.clone(),
            None => own_program()?,
        };
        LocalPool::builder(program, 1)
            .spares(0)
            .build()
            .map_err(|e| failure(&e))
    }

    fn addresses(&self) -> Result<AddressPool, Failure> {
        let mut pool = AddressPool::new();
        for text in &self.buildlet {
            let bad = || {
                Failure::usage(
                    format!("-buildlet {text:?} is not OS/ARCH=HOST:PORT"),
                    "for example linux/amd64=10.0.0.5:80",
                )
            };
            let (platform, address) = text.split_once('=').ok_or_else(bad)?;
            let (os, arch) = platform.split_once('/').ok_or_else(bad)?;
            let name = format!("{os}-{arch}");
            let id = MachineId::new(&name).map_err(|_| bad())?;
            let host = HostType::new(&name).map_err(|_| bad())?;
            let machine = Machine::new(id, host, [os, arch].into_iter().collect());
            pool = pool.with(machine, HttpBuildlet::direct(address));
        }
        Ok(pool)
    }

    fn tell(
        &self,
        results: Vec<(String, build_client::Result<build_client::racebuild::Built>)>,
    ) -> Result<(), Failure> {
        let mut worst: Option<build_client::Error> = None;
        let mut count = 0;
        for (platform, result) in results {
            let line = match &result {
                Ok(built) => json!(built),
                Err(error) => json!({ "platform": platform, "error": error.chain() }),
            };
            if self.json {
                println!("{line}");
            }
            match result {
                Ok(built) => eprintln!("{platform}: built {} ({} bytes)", built.file, built.bytes),
                Err(error) => {
                    eprintln!("{platform} failed: {}", error.chain());
                    count += 1;
                    worst = Some(error);
                }
            }
        }
        match worst {
            None => Ok(()),
            Some(error) if error.kind() == ErrorKind::Canceled => Err(Failure::interrupted()),
            Some(error) if error.kind().is_retryable() && count == 1 => {
                Err(Failure::silent(Exit::Infrastructure))
            }
            Some(_) => Err(Failure::silent(Exit::Failed)),
        }
    }
}

/// The front door, which can be a buildlet.
fn own_program() -> Result<PathBuf, Failure> {
    let this = std::env::current_exe()?;
    if this.file_stem().is_some_and(|name| name == "farmer") {
        return Ok(this);
    }
    let beside = this.with_file_name("farmer");
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|dir| dir.join("farmer"))
            .find(|file| file.is_file())
    };
    if beside.is_file() {
        Some(beside)
    } else {
        on_path()
    }
    .ok_or_else(|| {
        Failure::usage(
            "no machine: neither -buildlet nor a program farmer",
            "name a running buildlet with -buildlet, or the program with -local-program",
        )
    })
}
