//! What people wait for who use machines: a tree is pushed, a machine runs its first command.
//!
//! `cargo bench -p farmer-tools --bench gomote -- [NAME…]` prints one JSON line for each bench, with
//! every sample in milliseconds. `FILES=12000 SAMPLES=10` say how much of it. Beside our own push
//! stand Go's gomote of December 2020 (when there is a `go`) and rsync (when there is one), on the
//! same tree and the same disk. `create` needs the program `farmer`, optimised, in `FARMER`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use build_client::HttpBuildlet;
use build_client::gomote::push::{Profile, apply, look};
use build_client::transport::TcpDial;
use build_server::buildlet::{Address, BuildletServer, Config, Listener};
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 3] = ["push", "peers", "create"];
/// Bytes of a file, as a Go tree has them in the middle.
const FILE: usize = 4 << 10;
/// Files of one directory.
const TOGETHER: usize = 40;
/// Nothing takes longer.
const LIMIT: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!(
            "there is no bench {unknown:?}; benches: {}",
            NAMES.join(", ")
        );
    }
    let (files, samples) = (number("FILES", 12_000)?, number("SAMPLES", 10)?);
    ensure!(
        files > 0 && samples > 0,
        "FILES and SAMPLES are more than nothing"
    );
    for name in NAMES {
        if !names.is_empty() && !names.iter().any(|wanted| *wanted == name) {
            continue;
        }
        match name {
            "push" => push(files, samples).await?,
            "peers" => peers(files, samples).await?,
            _ => create(samples)?,
        }
    }
    Ok(())
}

fn number(name: &str, usual: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(usual),
    }
}

fn tell(bench: &str, files: usize, samples: &[Duration]) {
    let mut sorted: Vec<f64> = samples
        .iter()
        .map(|took| took.as_secs_f64() * 1e3)
        .collect();
    let told = sorted.clone();
    sorted.sort_by(f64::total_cmp);
    let line = serde_json::json!({
        "bench": bench,
        "unit": "ms",
        "files": files,
        "median": sorted[sorted.len() / 2],
        "samples": told,
    });
    println!("{line}");
}

/// A tree as the Go project's is, in its size and shape; its bytes do not compress to nothing.
fn tree(files: usize) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    let root = dir.path();
    std::fs::write(root.join("VERSION"), "go1.15.6")?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for n in 0..files {
        let dir = root.join(format!("src/p{}", n / TOGETHER));
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(format!("f{n}.go")), text(&mut state))?;
    }
    Ok(dir)
}

fn text(state: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE);
    while bytes.len() < FILE {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend_from_slice(format!("{:08x}\n", *state >> 32).as_bytes());
    }
    bytes
}

/// Changes one file of a tree.
fn touch(root: &Path, nth: usize) -> Result<()> {
    let mut state = nth as u64 + 1;
    Ok(std::fs::write(root.join("src/p0/f0.go"), text(&mut state))?)
}

/// A buildlet in this process; what is pushed lies below `go` of its directory.
struct Machine {
    dir: tempfile::TempDir,
    address: String,
    stop: CancellationToken,
}

impl Machine {
    #[expect(clippy::disallowed_methods, reason = "a bench is its own supervisor")]
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let work = dir.path().join("w");
        std::fs::create_dir(&work)?;
        let path = std::env::var("PATH")?;
        let config = Config::new(work, dir.path().join("state")).env([format!("PATH={path}")]);
        let any: Address = "127.0.0.1:0".parse().map_err(anyhow::Error::msg)?;
        let listener = Listener::bind(&any).await?;
        let address = listener.address().to_string();
        let stop = CancellationToken::new();
        let server = BuildletServer::open(config)?;
        let stopped = stop.clone();
        tokio::spawn(async move { server.run(vec![listener], stopped).await });
        Ok(Self { dir, address, stop })
    }

    fn client(&self) -> HttpBuildlet {
        HttpBuildlet::builder(TcpDial::new(self.address.clone())).build()
    }

    /// Nothing is there again.
    fn clean(&self) -> Result<()> {
        let work = self.dir.path().join("w");
        std::fs::remove_dir_all(&work)?;
        Ok(std::fs::create_dir(work)?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn push_once(machine: &Machine, root: &Path) -> Result<(usize, Duration)> {
    let (client, profile) = (machine.client(), Profile::go());
    let begin = Instant::now();
    let (plan, _) = look(&client, root, &profile, false, None).await?;
    let pushed = apply(&client, root, &profile, &plan, |_| {}).await?;
    Ok((pushed.sent, begin.elapsed()))
}

/// Our push: all of a tree, nothing of it, one file of it.
async fn push(files: usize, samples: usize) -> Result<()> {
    let (tree, machine) = (tree(files)?, Machine::start().await?);
    let (mut whole, mut none, mut one) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..samples {
        machine.clean()?;
        let (sent, took) = push_once(&machine, tree.path()).await?;
        ensure!(sent >= files, "{sent} of {files} files were sent");
        whole.push(took);
        let (sent, took) = push_once(&machine, tree.path()).await?;
        ensure!(sent == 0, "{sent} files of an unchanged tree were sent");
        none.push(took);
        touch(tree.path(), nth)?;
        let (sent, took) = push_once(&machine, tree.path()).await?;
        ensure!(sent == 1, "{sent} files were sent after one was changed");
        one.push(took);
    }
    tell("push/whole", files, &whole);
    tell("push/unchanged", files, &none);
    tell("push/one", files, &one);
    Ok(())
}

/// The same by others.
async fn peers(files: usize, samples: usize) -> Result<()> {
    let tree = tree(files)?;
    match go_gomote() {
        Ok(program) => {
            let machine = Machine::start().await?;
            let name = format!("linux-amd64@{}", machine.address);
            let push = || {
                let mut command = Command::new(&program);
                command.args(["push", &name]).env("GOROOT", tree.path());
                command.env("USER", "bench").current_dir(tree.path());
                timed(&mut command)
            };
            three(
                "go2020",
                files,
                samples,
                tree.path(),
                || machine.clean(),
                push,
            )?;
        }
        Err(why) => eprintln!("SKIPPED: Go's gomote: {why:#}"),
    }
    let there = tempfile::tempdir()?;
    let to = there.path().join("go");
    let clean = || match std::fs::remove_dir_all(&to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    };
    let rsync = || {
        let mut command = Command::new("rsync");
        // By digests, as a push compares; with a server at the other end of a pipe.
        command.args([
            "-rlp",
            "--checksum",
            "--delete",
            "-e",
            "sh -c 'shift; exec \"$@\"' --",
        ]);
        command.arg(format!("{}/", tree.path().display()));
        command.arg(format!("here:{}", to.display()));
        timed(&mut command)
    };
    match Command::new("rsync").arg("--version").output() {
        Ok(_) => three("rsync", files, samples, tree.path(), clean, rsync),
        Err(error) => {
            eprintln!("SKIPPED: rsync: {error}");
            Ok(())
        }
    }
}

fn three(
    who: &str,
    files: usize,
    samples: usize,
    root: &Path,
    clean: impl Fn() -> Result<()>,
    push: impl Fn() -> Result<Duration>,
) -> Result<()> {
    let (mut whole, mut none, mut one) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..samples {
        clean()?;
        whole.push(push()?);
        none.push(push()?);
        touch(root, nth + samples)?;
        one.push(push()?);
    }
    tell(&format!("{who}/whole"), files, &whole);
    tell(&format!("{who}/unchanged"), files, &none);
    tell(&format!("{who}/one"), files, &one);
    Ok(())
}

fn timed(command: &mut Command) -> Result<Duration> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = begin.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}: {said}",
        output.status
    );
    ensure!(took < LIMIT, "{command:?} took {took:?}");
    Ok(took)
}

/// Go's program of December 2020, built from the module cache.
fn go_gomote() -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build-server/tests/gomote2020");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gomote2020");
    let mut go = Command::new("go");
    go.args(["build", "-o", &format!("{}/", dir.display())]);
    go.arg("golang.org/x/build/cmd/gomote").current_dir(sources);
    let built = go.env("GOFLAGS", "-mod=readonly").output();
    let built = built.context("start go")?;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "go build: {said}");
    Ok(dir.join("gomote"))
}

/// From asking for a machine to the end of its first command, as a person does it: two programs.
fn create(samples: usize) -> Result<()> {
    let Some(farmer) = std::env::var_os("FARMER") else {
        eprintln!("SKIPPED: create: name the program with FARMER=target/release/farmer");
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    for args in [
        &["init", "-q", "repo"][..],
        &[
            "-C",
            "repo",
            "-c",
            "user.name=b",
            "-c",
            "user.email=b@b",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "first",
        ],
    ] {
        let done = Command::new("git")
            .args(args)
            .current_dir(dir.path())
            .status()?;
        ensure!(done.success(), "git {args:?}");
    }
    let program = |args: &[&str]| {
        let mut command = Command::new(&farmer);
        command
            .args(args)
            .env("FARMER_DATA", &data)
            .env("HOME", dir.path());
        command
    };
    let mut up = program(&["up", "--port", "0", "--machines", "2"]);
    let mut farm = up
        .arg(&repo)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let measured = measure_create(&mut farm, samples, program);
    // Its machines end with it.
    program(&["down", "--sessions"]).output()?;
    farm.wait()?;
    let (created, ran) = measured?;
    tell("create", 0, &created);
    tell("create/first command", 0, &ran);
    Ok(())
}

fn measure_create(
    farm: &mut std::process::Child,
    samples: usize,
    program: impl Fn(&[&str]) -> Command,
) -> Result<(Vec<Duration>, Vec<Duration>)> {
    use std::io::BufRead as _;
    let stdout = farm.stdout.take().context("the farm has an output")?;
    let mut address = String::new();
    std::io::BufReader::new(stdout).read_line(&mut address)?;
    ensure!(address.starts_with("http"), "the farm has not started");
    let (mut created, mut ran) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let begin = Instant::now();
        let output = program(&["gomote", "create", "local"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "gomote create: {said}");
        created.push(begin.elapsed());
        let name = String::from_utf8(output.stdout)?;
        let name = name.trim();
        timed(&mut program(&["gomote", "run", name, "/bin/true"]))?;
        ran.push(begin.elapsed());
        timed(&mut program(&["gomote", "destroy", name]))?;
    }
    Ok((created, ran))
}
