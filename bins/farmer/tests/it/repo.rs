//! Repositories made for a test, and the program run on them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A git repository in a directory of its own, with a data directory beside it.
pub(crate) struct Repo {
    home: TempDir,
}

impl Repo {
    pub(crate) fn new() -> Self {
        let repo = Self {
            home: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(repo.path()).unwrap();
        repo.git(&["init", "-q", "-b", "main"]);
        repo
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("project")
    }

    /// The directory around the repository and its data, for files of the test.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git_in(&self.path(), args)
    }

    /// Writes a file; its parents are made.
    pub(crate) fn write(&self, path: &str, contents: &str) -> &Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
        self
    }

    /// Commits everything there is.
    pub(crate) fn commit(&self, subject: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// `farmer` with the data directory of this repository, in the repository.
    /// The program, with builds that reach what the test reaches: a test looks at their processes
    /// and lets them wait for its files.
    pub(crate) fn farmer(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farmer"));
        command
            .current_dir(self.path())
            .env("FARMER_DATA", self.data())
            .env("FARMER_SANDBOX", "none")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run(self.farmer().args(args).output().unwrap())
    }

    /// With builds kept apart, as they are where nobody says otherwise.
    pub(crate) fn run_apart(&self, args: &[&str]) -> Run {
        let mut command = self.farmer();
        command.env_remove("FARMER_SANDBOX");
        Run(command.args(args).output().unwrap())
    }
}

pub(crate) fn git_in(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@localhost",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a run of the program said.
pub(crate) struct Run(Output);

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self(output)
    }

    pub(crate) fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Asserts the exit code, showing everything that was said when it is another one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "stdout:\n{}\nstderr:\n{}",
            self.out(),
            self.err()
        );
        self
    }

    /// The JSON objects of standard output, one a line.
    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        self.out()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Whether `tool` is there. Says loudly when a test is skipped for it; in CI that is a failure.
#[track_caller]
pub(crate) fn has_tool(tool: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {tool}")])
        .stdout(Stdio::null())
        .status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{tool} is not installed, and CI must have it"
        );
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}
