//! Builds the race detector's libraries on machines of a pool, and puts them into a Go tree.
//!
//! A platform's machine takes the script of its [`Recipe`], runs it, and gives the library
//! back; the library and its line of the README are written when all that has gone well.
//! A platform that fails leaves the tree as it was, and the others go on.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::{Exec, ExecEvent};
use build_core::ids::{BuilderName, LeaseId, MachineId, Nonce};
use build_core::pool::{LEASE_TTL, Lease, LeaseRequest, Pool};
use build_core::racebuild::{PATCH, RACE_DIR, Recipe, with_readme_line};
use build_core::schedule::Machine;
use build_core::tarutil::{Policy, Untar};
use futures::StreamExt as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind, Result, once};

/// Longest library that is taken: theirs are a few hundred kilobytes.
const LONGEST: usize = 64 << 20;

/// What is built, and where it goes.
#[derive(Clone, Debug)]
pub struct Job {
    /// The Go tree that gets the libraries.
    pub goroot: PathBuf,
    /// The LLVM revision.
    pub llvm_rev: String,
    /// The Go revision, resolved.
    pub go_rev: String,
    /// A gzip-compressed tar file of a Go that builds Go, put into `go1.4` on the machine.
    pub bootstrap: Option<PathBuf>,
    /// A patch that the scripts apply to LLVM; the README tells its name.
    pub llvm_patch: Option<PathBuf>,
    /// A change of Gerrit that the scripts put on top of the Go revision.
    pub go_change: Option<GoChange>,
    /// Takes a library that is there although the script has failed; the platform fails still.
    pub copy_on_fail: bool,
    /// More environment for the scripts, `NAME=value`.
    pub env: Vec<String>,
    /// How often a machine is asked for.
    pub attempts: u32,
    /// Wait before the second time; it doubles, up to a minute.
    pub first_wait: Duration,
}

impl Job {
    /// A job for the tree at `goroot`, with ten tries to get a machine.
    pub fn new(
        goroot: impl Into<PathBuf>,
        llvm_rev: impl Into<String>,
        go_rev: impl Into<String>,
    ) -> Self {
        Self {
            goroot: goroot.into(),
            llvm_rev: llvm_rev.into(),
            go_rev: go_rev.into(),
            bootstrap: None,
            llvm_patch: None,
            go_change: None,
            copy_on_fail: false,
            env: Vec::new(),
            attempts: 10,
            first_wait: Duration::from_secs(1),
        }
    }

    /// The name of the patch, as the README tells it.
    fn patch_name(&self) -> Option<String> {
        let name = self.llvm_patch.as_ref()?.file_name()?;
        Some(name.to_string_lossy().into_owned())
    }

    fn race_dir(&self) -> PathBuf {
        self.goroot.join(RACE_DIR)
    }
}

/// A change of Gerrit on top of a Go revision, by its ref: `refs/changes/NN/NUMBER/PATCHSET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoChange {
    /// It alone is picked.
    CherryPick(String),
    /// It is checked out, with what it stands on.
    Checkout(String),
}

impl GoChange {
    /// The command of git, and the ref.
    fn parts(&self) -> (&str, &str) {
        match self {
            Self::CherryPick(name) => ("cherry-pick", name),
            Self::Checkout(name) => ("checkout", name),
        }
    }
}

/// A library that was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Built {
    /// System and processor.
    pub platform: String,
    /// Where it was written, below the tree.
    pub file: String,
    /// Its size.
    pub bytes: usize,
    /// Its hash, in hex.
    pub sha256: String,
}

/// What the machines print: the platform, and a piece of output.
pub type Told<'a> = &'a (dyn Fn(&str, &[u8]) + Sync);

/// Runs the recipes, all at once, each on a machine of `pool` that fits: one whose host type is
/// the recipe's builder, or else one with its system and processor as labels.
///
/// At the cancelling of `stop` the machines are given back, and what is not done yet fails with
/// [`ErrorKind::Canceled`].
///
/// # Errors
/// Before any machine is asked for: when the tree has no README of race libraries, or there is
/// no machine for a recipe. Afterwards each recipe has its own result, in the order given.
pub async fn run(
    job: &Job,
    recipes: &[Recipe],
    pool: &dyn Pool,
    stop: &CancellationToken,
    told: Told<'_>,
) -> Result<Vec<(String, Result<Built>)>> {
    let readme = job.race_dir().join("README");
    std::fs::read(&readme).map_err(|error| {
        Error::caused_by(
            ErrorKind::Invalid,
            format!("bad Go tree: reading {}", readme.display()),
            error,
        )
        .with_hint("name the root of a Go repository with -goroot")
    })?;
    let machines = pool.machines();
    let places: Vec<Machine> = recipes
        .iter()
        .map(|recipe| place(recipe, &machines))
        .collect::<Result<_>>()?;
    let writing = Mutex::new(());
    let runs = recipes.iter().zip(&places).map(|(recipe, machine)| async {
        let one = Run {
            job,
            recipe,
            pool,
            machine: machine.id(),
            stop,
            told,
        };
        let built = one.build().await;
        let kept = match built {
            Ok((library, failed)) => {
                let _one_at_a_time = writing.lock().await;
                let kept = keep(job, recipe, &library);
                failed.map_or(kept, Err)
            }
            Err(error) => Err(error),
        };
        (recipe.platform.clone(), kept)
    });
    Ok(futures::future::join_all(runs).await)
}

/// The machine for a recipe.
fn place(recipe: &Recipe, machines: &[Machine]) -> Result<Machine> {
    let builder = machines
        .iter()
        .find(|m| m.host_type().as_str() == recipe.builder);
    let alike = || {
        machines
            .iter()
            .find(|m| m.labels().has(recipe.os()) && m.labels().has(recipe.arch()))
    };
    builder.or_else(alike).cloned().ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("no machine for {} ({})", recipe.platform, recipe.builder),
        )
        .with_hint(format!(
            "name one with -buildlet {}=HOST:PORT",
            recipe.platform
        ))
    })
}

/// One recipe on its machine.
struct Run<'a> {
    job: &'a Job,
    recipe: &'a Recipe,
    pool: &'a dyn Pool,
    machine: &'a MachineId,
    stop: &'a CancellationToken,
    told: Told<'a>,
}

impl Run<'_> {
    /// The library, and why the platform fails nevertheless.
    async fn build(&self) -> Result<(Vec<u8>, Option<Error>)> {
        let lease = self.lease().await?;
        let work = async {
            tokio::select! {
                built = self.on(lease.as_ref()) => built,
                lost = keep_alive(lease.as_ref()) => Err(lost),
                () = self.stop.cancelled() => Err(canceled()),
            }
        };
        let built = work.await;
        if let Err(error) = lease.release().await {
            tracing::warn!(machine = %self.machine, %error, "giving the machine back");
        }
        built
    }

    async fn lease(&self) -> Result<Arc<dyn Lease>> {
        let request = LeaseRequest {
            lease: LeaseId::new(format!("racebuild-{}", self.machine))?,
            nonce: Nonce::new(format!("racebuild-{}-{}", std::process::id(), self.machine))?,
            machine: self.machine.clone(),
            host_type: build_core::ids::HostType::new(&self.recipe.builder)?,
            builder: BuilderName::new(&self.recipe.builder)?,
            // The script is the recipe's own: it installs what it needs, from the network.
            sandbox: build_core::plan::Sandbox::default(),
            network: build_core::plan::Network::default(),
            image: None,
            ttl: LEASE_TTL,
        };
        let mut wait = self.job.first_wait;
        let mut left = self.job.attempts.max(1);
        loop {
            let asked = tokio::select! {
                asked = self.pool.acquire(&request) => asked,
                () = self.stop.cancelled() => return Err(canceled()),
            };
            left -= 1;
            match asked {
                Ok(lease) => return Ok(lease),
                Err(error) if left == 0 || error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => {
                    let line = format!("no machine yet, trying again: {error}\n");
                    (self.told)(&self.recipe.platform, line.as_bytes());
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(60)),
                () = self.stop.cancelled() => return Err(canceled()),
            }
        }
    }

    async fn on(&self, lease: &dyn Lease) -> Result<(Vec<u8>, Option<Error>)> {
        let (job, recipe, machine) = (self.job, self.recipe, lease.buildlet());
        if let Some(bootstrap) = &job.bootstrap {
            machine
                .put_tar(once(read(bootstrap).await?), "go1.4")
                .await?;
        }
        if let Some(patch) = &job.llvm_patch {
            machine.put(PATCH, 0o600, once(read(patch).await?)).await?;
        }
        let script = recipe.script_name();
        machine
            .put(script, 0o700, once(recipe.script.clone()))
            .await?;
        let mut exec = Exec::in_work_dir(script)
            .env("REV", &job.llvm_rev)
            .env("GOREV", &job.go_rev);
        if job.llvm_patch.is_some() {
            exec = exec.env("LLVM_PATCH", PATCH);
        }
        if let Some((operation, name)) = job.go_change.as_ref().map(GoChange::parts) {
            exec = exec.env("GOGITOP", operation).env("GOSRCREF", name);
        }
        exec.env.extend(job.env.iter().cloned());
        // Beside the script, which makes its directories there.
        exec.dir = ".".to_owned();
        let mut output = machine.stream(exec).await?;
        let mut outcome = None;
        while let Some(event) = output.next().await {
            match event? {
                ExecEvent::Output(bytes) => (self.told)(&recipe.platform, &bytes),
                ExecEvent::Ended(ended) => outcome = Some(ended),
            }
        }
        let failed = match outcome {
            Some(outcome) if outcome.is_ok() => None,
            Some(outcome) => {
                let text = format!(
                    "{script} on {}: {}",
                    machine.name(),
                    outcome.to_process_state()
                );
                Some(Error::new(ErrorKind::Invalid, text))
            }
            None => {
                let text = format!("the output of {script} ended before it did");
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
        };
        match failed {
            Some(error) if job.copy_on_fail => match self.library(machine).await {
                Ok(library) => Ok((library, Some(error))),
                // There is none: that the script has failed says why.
                Err(_) => Err(error),
            },
            Some(error) => Err(error),
            None => Ok((self.library(machine).await?, None)),
        }
    }

    /// What the script has left behind.
    async fn library(&self, machine: &dyn build_core::buildlet::Buildlet) -> Result<Vec<u8>> {
        let recipe = self.recipe;
        let mut packed = Vec::new();
        let mut archive = machine.get_tar(&recipe.output).await?;
        while let Some(piece) = archive.next().await {
            packed.extend_from_slice(&piece?);
            if packed.len() > LONGEST {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("{} is too large", recipe.output),
                ));
            }
        }
        only_file(&packed, recipe.file())
    }
}

async fn read(file: &Path) -> Result<Vec<u8>> {
    tokio::fs::read(file).await.map_err(|error| {
        let what = format!("reading {}", file.display());
        Error::caused_by(ErrorKind::Invalid, what, error)
    })
}

fn canceled() -> Error {
    Error::new(ErrorKind::Canceled, "stopped")
}

/// Renews a lease until that fails.
async fn keep_alive(lease: &dyn Lease) -> Error {
    loop {
        tokio::time::sleep(LEASE_TTL / 3).await;
        if let Err(error) = lease.renew(LEASE_TTL).await {
            return error.while_doing("the machine was lost");
        }
    }
}

/// The file `name` of an archive that holds it alone.
fn only_file(archive: &[u8], name: &str) -> Result<Vec<u8>> {
    let bad = |text: String| Error::new(ErrorKind::Corrupt, text);
    let dir = tempfile::tempdir()
        .map_err(|error| Error::caused_by(ErrorKind::Unavailable, "making a directory", error))?;
    Untar::open(dir.path())
        .map_err(|error| Error::caused_by(ErrorKind::Unavailable, "opening a directory", error))?
        .policy(Policy::plain_files())
        .unpack(archive)
        .map_err(|error| {
            Error::caused_by(ErrorKind::Corrupt, "unpacking what the machine gave", error)
        })?;
    let library = std::fs::read(dir.path().join(name))
        .map_err(|error| bad(format!("the archive holds no {name}: {error}")))?;
    if library.is_empty() {
        return Err(bad(format!("{name} is empty")));
    }
    Ok(library)
}

/// Writes the library, then its line of the README.
fn keep(job: &Job, recipe: &Recipe, library: &[u8]) -> Result<Built> {
    let dir = job.race_dir();
    replace(&dir.join(recipe.file()), library)?;
    let readme = dir.join("README");
    let text = std::fs::read_to_string(&readme).map_err(|error| unwritten(&readme, error))?;
    let patch = job.patch_name();
    let new = with_readme_line(
        &text,
        recipe.file(),
        &job.llvm_rev,
        patch.as_deref(),
        &job.go_rev,
    );
    if new != text {
        replace(&readme, new.as_bytes())?;
    }
    Ok(Built {
        platform: recipe.platform.clone(),
        file: format!("{RACE_DIR}/{}", recipe.file()),
        bytes: library.len(),
        sha256: hex::encode(Sha256::digest(library)),
    })
}

fn unwritten(path: &Path, error: std::io::Error) -> Error {
    Error::caused_by(
        ErrorKind::Unavailable,
        format!("writing {}", path.display()),
        error,
    )
}

/// Replaces a file at once, with the permissions that it had.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error| unwritten(path, error);
    let mode = std::fs::metadata(path).map_or(0o644, |meta| meta.permissions().mode());
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use build_core::ids::HostType;
    use build_core::schedule::Labels;

    use super::*;
    use crate::address_pool::AddressPool;
    use crate::testing::FakeBuildlet;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(RACE_DIR)).unwrap();
        std::fs::write(dir.path().join(RACE_DIR).join("README"), "race libraries\n").unwrap();
        dir
    }

    fn recipe(platform: &str, script: &str) -> Recipe {
        let file = format!("race_{}.syso", platform.replace('/', "_"));
        Recipe {
            platform: platform.to_owned(),
            builder: format!("{}-race", platform.replace('/', "-")),
            script: format!("#!/bin/sh\nset -e\n{script}\n"),
            output: format!("go/{RACE_DIR}/{file}"),
        }
    }

    fn pool(machines: &[(&str, &FakeBuildlet)]) -> AddressPool {
        machines
            .iter()
            .fold(AddressPool::new(), |pool, (name, machine)| {
                let labels: Labels = name.split('-').collect();
                let id = Machine::new(
                    MachineId::new(name).unwrap(),
                    HostType::new("box").unwrap(),
                    labels,
                );
                pool.with(id, (*machine).clone())
            })
    }

    fn text(dir: &Path, name: &str) -> String {
        std::fs::read_to_string(dir.join(RACE_DIR).join(name)).unwrap_or_default()
    }

    const MAKE: &str =
        "mkdir -p go/src/runtime/race && echo \"$REV $GOREV\" > go/src/runtime/race/";

    #[tokio::test]
    async fn a_failing_platform_leaves_the_tree_and_the_others_alone() {
        let dir = tree();
        let (one, two) = (
            FakeBuildlet::new("one").unwrap(),
            FakeBuildlet::new("two").unwrap(),
        );
        let recipes = [
            recipe(
                "linux/amd64",
                &format!("{MAKE}race_linux_amd64.syso; echo made"),
            ),
            recipe("netbsd/amd64", "echo broken; exit 3"),
        ];
        let pool = pool(&[("linux-amd64", &one), ("netbsd-amd64", &two)]);
        let output = std::sync::Mutex::new(Vec::new());
        let told = |platform: &str, bytes: &[u8]| {
            output
                .lock()
                .unwrap()
                .push(format!("{platform} {}", String::from_utf8_lossy(bytes)));
        };
        let job = Job::new(dir.path(), "11aa", "22bb");
        let results = run(&job, &recipes, &pool, &CancellationToken::new(), &told)
            .await
            .unwrap();
        let built = results[0].1.as_ref().unwrap();
        assert_eq!((built.bytes, built.sha256.len()), (10, 64));
        assert!(
            results[1]
                .1
                .as_ref()
                .unwrap_err()
                .to_string()
                .contains("exit status 3")
        );
        assert_eq!(text(dir.path(), "race_linux_amd64.syso"), "11aa 22bb\n");
        let readme = "race libraries\nrace_linux_amd64.syso built with LLVM 11aa and Go 22bb.\n";
        assert_eq!(text(dir.path(), "README"), readme);
        let output = output.into_inner().unwrap().concat();
        assert!(
            output.contains("linux/amd64 made") && output.contains("netbsd/amd64 broken"),
            "{output}"
        );
        for machine in [&one, &two] {
            assert_eq!(
                std::fs::read_dir(machine.root()).unwrap().count(),
                0,
                "left clean"
            );
        }
        assert!(pool.status().iter().all(|status| status.lease.is_none()));
        let again = run(
            &job,
            &recipes[..1],
            &pool,
            &CancellationToken::new(),
            &|_, _| (),
        )
        .await
        .unwrap();
        assert_eq!(
            (
                again[0].1.as_ref().unwrap(),
                text(dir.path(), "README").as_str()
            ),
            (built, readme)
        );
    }

    #[tokio::test]
    async fn an_empty_or_missing_library_is_none() {
        let dir = tree();
        let machine = FakeBuildlet::new("one").unwrap();
        let pool = pool(&[("linux-amd64", &machine)]);
        for script in [
            "true",
            "mkdir -p go/src/runtime/race && : > go/src/runtime/race/race_linux_amd64.syso",
        ] {
            let recipes = [recipe("linux/amd64", script)];
            let results = run(
                &Job::new(dir.path(), "1", "2"),
                &recipes,
                &pool,
                &CancellationToken::new(),
                &|_, _| (),
            )
            .await
            .unwrap();
            assert!(results[0].1.is_err(), "{script}");
        }
        assert_eq!(text(dir.path(), "README"), "race libraries\n");
        assert_eq!(
            std::fs::read_dir(dir.path().join(RACE_DIR))
                .unwrap()
                .count(),
            1
        );
    }

    #[tokio::test]
    async fn nothing_is_asked_for_without_a_tree_or_a_machine() {
        let machine = FakeBuildlet::new("one").unwrap();
        let pool = pool(&[("linux-amd64", &machine)]);
        let stop = CancellationToken::new();
        let recipes = [recipe("plan9/386", "true")];
        let dir = tree();
        let error = run(
            &Job::new(dir.path(), "1", "2"),
            &recipes,
            &pool,
            &stop,
            &|_, _| (),
        )
        .await
        .unwrap_err();
        assert!(
            error.hint().unwrap().contains("-buildlet plan9/386="),
            "{error}"
        );
        let error = run(
            &Job::new("/nowhere", "1", "2"),
            &recipes,
            &pool,
            &stop,
            &|_, _| (),
        )
        .await
        .unwrap_err();
        assert!(error.to_string().starts_with("bad Go tree"), "{error}");
        assert!(machine.calls().is_empty());
    }

    #[tokio::test]
    async fn stopped_it_gives_the_machine_back() {
        let dir = tree();
        let machine = FakeBuildlet::new("one").unwrap();
        let pool = pool(&[("linux-amd64", &machine)]);
        let recipes = [recipe("linux/amd64", "echo begun; sleep 600")];
        let stop = CancellationToken::new();
        let told = |_: &str, _: &[u8]| stop.cancel();
        let results = run(
            &Job::new(dir.path(), "1", "2"),
            &recipes,
            &pool,
            &stop,
            &told,
        )
        .await
        .unwrap();
        assert_eq!(
            results[0].1.as_ref().unwrap_err().kind(),
            ErrorKind::Canceled
        );
        assert!(pool.status()[0].lease.is_none());
    }
}
