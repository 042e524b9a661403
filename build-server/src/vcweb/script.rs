//! Scripts that make repositories: a few commands of their own, and version control programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};

use super::serve::{Handler, Kind};
use super::words::{Line, Want, parse};
use super::{Tools, archive};
use crate::child::Command;

/// Programs that scripts may run, and nothing else.
const PROGRAMS: [&str; 6] = ["bzr", "fossil", "git", "hg", "svn", "svnadmin"];
/// For one command.
const LIMIT: Duration = Duration::from_secs(60);
/// For one script.
pub(super) const SCRIPT_LIMIT: Duration = Duration::from_secs(300);
/// What a command may print.
const MAX_OUTPUT: u64 = 8 << 20;
/// Bytes of a script with its files.
pub(super) const MAX_SCRIPT: u64 = 64 << 20;

/// The state of a script that runs.
struct State<'a> {
    tools: &'a Tools,
    root: PathBuf,
    dir: PathBuf,
    env: BTreeMap<String, String>,
    stdout: String,
    stderr: String,
    handler: Option<Handler>,
}

fn invalid<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Invalid, text))
}

/// Runs a script in `root`, which is empty, and answers how its result is served.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when a program is not installed; otherwise the line that failed.
pub(super) async fn run(tools: &Tools, text: &[u8], root: &Path) -> Result<Handler> {
    let (comment, files) = archive::parse(text);
    fs::create_dir_all(root)?;
    let root = fs::canonicalize(root)?;
    let mut env = tools.env.clone();
    env.insert("WORK".to_owned(), root.to_string_lossy().into_owned());
    let mut state = State {
        tools,
        dir: root.clone(),
        root,
        env,
        stdout: String::new(),
        stderr: String::new(),
        handler: None,
    };
    for file in files {
        let path = state.path(file.name)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, file.data)?;
    }
    let Ok(script) = std::str::from_utf8(comment) else {
        return invalid("the script is not UTF-8");
    };
    for (number, line) in script.lines().enumerate() {
        let pwd = state.dir.to_string_lossy().into_owned();
        state.env.insert("PWD".to_owned(), pwd);
        let at = |error: Error| {
            let doing = format!("line {}: {}", number + 1, line.trim());
            error.while_doing(doing)
        };
        let Some(line) = parse(line, &state.env).map_err(at)? else {
            continue;
        };
        if state.holds(&line).map_err(at)? {
            state.carry_out(&line).await.map_err(at)?;
        }
    }
    match state.handler {
        Some(handler) => Ok(handler),
        None => invalid("no line says how the result is served, such as: handle git"),
    }
}

impl State<'_> {
    /// Whether all conditions of a line hold.
    fn holds(&self, line: &Line) -> Result<bool> {
        for (not, condition) in &line.conditions {
            let holds = match condition.as_str() {
                "bzr" | "fossil" | "git" | "hg" | "svn" => self.tools.has(condition),
                "git-sha256" => self.tools.has("git"),
                "unix" | "symlink" => cfg!(unix),
                other => match other.split_once(':') {
                    Some(("GOOS", os)) => os == std::env::consts::OS,
                    Some(("exec", program)) => self.tools.has(program),
                    _ => return invalid(format!("no condition is called {other}")),
                },
            };
            if holds == *not {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn carry_out(&mut self, line: &Line) -> Result<()> {
        let name = line.words[0].as_str();
        let args: Vec<&str> = line.words[1..].iter().map(String::as_str).collect();
        let done = match PROGRAMS.contains(&name) {
            true => self.program(name, &args).await,
            false => self.own(name, &args),
        };
        match (line.want, done) {
            (_, Err(error)) if error.kind() == ErrorKind::Unsupported => Err(error),
            (Want::Either, _) | (Want::Success, Ok(())) | (Want::Failure, Err(_)) => Ok(()),
            (Want::Success, Err(error)) => Err(error),
            (Want::Failure, Ok(())) => invalid("it succeeded, but was to fail"),
        }
    }

    async fn program(&mut self, name: &str, args: &[&str]) -> Result<()> {
        if !self.tools.has(name) {
            return Err(absent(name));
        }
        let ended = Command::new(name)
            .args(args)
            .dir(&self.dir)
            .clear_env()
            .envs(self.env.clone())
            .limit(LIMIT)
            .max_output(MAX_OUTPUT)
            .run()
            .await?;
        self.stdout = String::from_utf8_lossy(&ended.output).into_owned();
        self.stderr.clone_from(&ended.complaint);
        ended.passed().map(drop)
    }

    fn own(&mut self, name: &str, args: &[&str]) -> Result<()> {
        match (name, args) {
            ("at", [time]) => {
                for name in ["GIT_COMMITTER_DATE", "GIT_AUTHOR_DATE"] {
                    self.env.insert(name.to_owned(), (*time).to_owned());
                }
            }
            ("cat", files) => {
                let texts: Result<Vec<_>> = files.iter().map(|f| self.text(f)).collect();
                self.stdout = texts?.concat();
            }
            ("cd", [dir]) => {
                let dir = self.path(dir)?;
                if !dir.is_dir() {
                    return invalid(format!("{} is not a directory", dir.display()));
                }
                self.dir = dir;
            }
            ("chmod", [mode, files @ ..]) => self.chmod(mode, files)?,
            ("cmp", [left, right]) => {
                let (left_text, right_text) = (self.text(left)?, self.text(right)?);
                if left_text != right_text {
                    return invalid(format!(
                        "{left} and {right} differ; {left} is:\n{left_text}"
                    ));
                }
            }
            ("cp", [from @ .., to]) if !from.is_empty() => self.copy(from, to)?,
            ("echo", words) => self.stdout = format!("{}\n", words.join(" ")),
            ("env", settings) => {
                for setting in settings {
                    let Some((name, value)) = setting.split_once('=') else {
                        return invalid(format!("{setting:?} is not NAME=VALUE"));
                    };
                    self.env.insert(name.to_owned(), value.to_owned());
                }
            }
            ("exists", files) => {
                for file in files {
                    if !self.path(file)?.exists() {
                        return invalid(format!("{file} does not exist"));
                    }
                }
            }
            ("handle", [kind]) => self.handle(kind, ".")?,
            ("handle", [kind, dir]) => self.handle(kind, dir)?,
            ("mkdir", dirs) => {
                for dir in dirs {
                    fs::create_dir_all(self.path(dir)?)?;
                }
            }
            ("modzip", [zip, module, dir]) => {
                super::modzip::write(&self.path(zip)?, module, &self.path(dir)?)?;
            }
            ("mv", [from, to]) => fs::rename(self.path(from)?, self.path(to)?)?,
            ("replace", [pairs @ .., file]) if pairs.len() % 2 == 0 => {
                let path = self.path(file)?;
                let text = fs::read_to_string(&path)?;
                let text = pairs.chunks(2).fold(text, |text, pair| {
                    text.replace(&unquote(pair[0]), &unquote(pair[1]))
                });
                fs::write(path, text)?;
            }
            ("rm", files) => {
                for file in files {
                    self.remove(file)?;
                }
            }
            ("skip", words) => {
                let text = format!("skipped: {}", words.join(" "));
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
            ("stdout", [pattern]) => grep(&self.stdout, pattern)?,
            ("stderr", [pattern]) => grep(&self.stderr, pattern)?,
            ("grep", [pattern, file]) => grep(&self.text(file)?, pattern)?,
            ("unquote", [text]) => self.stdout = unquote(text),
            _ => {
                return invalid(format!(
                    "no command is called {name} with {} arguments",
                    args.len()
                ));
            }
        }
        Ok(())
    }

    /// A path below the script's directory.
    fn path(&self, text: &str) -> Result<PathBuf> {
        let mut path = match Path::new(text).strip_prefix(&self.root) {
            Ok(below) => self.root.join(below),
            Err(_) if Path::new(text).is_absolute() => {
                return invalid(format!("{text} is not below the script's directory"));
            }
            Err(_) => self.dir.clone(),
        };
        for part in Path::new(text).components() {
            match part {
                Component::Normal(part) if !Path::new(text).is_absolute() => path.push(part),
                Component::ParentDir if path == self.root => {
                    return invalid(format!("{text} leaves the script's directory"));
                }
                Component::ParentDir => {
                    path.pop();
                }
                _ => {}
            }
        }
        // A link that a program made must not lead out of it either.
        let there = path.ancestors().find_map(|p| fs::canonicalize(p).ok());
        if there.is_some_and(|there| !there.starts_with(&self.root)) {
            return invalid(format!("{text} leaves the script's directory"));
        }
        Ok(path)
    }

    /// A file's text, or what the last command printed.
    fn text(&self, file: &str) -> Result<String> {
        match file {
            "stdout" => Ok(self.stdout.clone()),
            "stderr" => Ok(self.stderr.clone()),
            file => {
                let read = fs::read(self.path(file)?);
                let read = read.map_err(|e| Error::from(e).while_doing(format!("read {file}")))?;
                Ok(String::from_utf8_lossy(&read).into_owned())
            }
        }
    }

    fn copy(&self, from: &[&str], to: &str) -> Result<()> {
        let to = self.path(to)?;
        for source in from {
            let name = Path::new(source).file_name().unwrap_or_default();
            let target = if to.is_dir() {
                to.join(name)
            } else {
                to.clone()
            };
            match *source {
                "stdout" => fs::write(target, &self.stdout)?,
                "stderr" => fs::write(target, &self.stderr)?,
                source => {
                    let copied = fs::copy(self.path(source)?, target);
                    copied.map_err(|e| Error::from(e).while_doing(format!("copy {source}")))?;
                }
            }
        }
        Ok(())
    }

    fn chmod(&self, mode: &str, files: &[&str]) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let Ok(mode) = u32::from_str_radix(mode, 8) else {
            return invalid(format!("{mode:?} is no mode"));
        };
        for file in files {
            let mode = fs::Permissions::from_mode(mode & 0o777);
            fs::set_permissions(self.path(file)?, mode)?;
        }
        Ok(())
    }

    fn remove(&self, file: &str) -> Result<()> {
        let path = self.path(file)?;
        if path == self.root {
            return invalid("the script's own directory stays");
        }
        let removed = match path.symlink_metadata() {
            Ok(about) if about.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        Ok(removed?)
    }

    fn handle(&mut self, kind: &str, dir: &str) -> Result<()> {
        if let Some(handler) = &self.handler {
            return invalid(format!("it is served as {} already", handler.kind.name()));
        }
        let Some(kind) = Kind::named(kind) else {
            return invalid(format!("nothing is served as {kind}"));
        };
        if let Some(program) = kind.program().filter(|p| !self.tools.has(p)) {
            return Err(absent(program));
        }
        self.handler = Some(Handler::new(kind, self.path(dir)?));
        Ok(())
    }
}

/// The error for a program that is not there.
pub(super) fn absent(program: &str) -> Error {
    let text = format!("{program} is not installed on this machine");
    Error::new(ErrorKind::Unsupported, text)
        .with_hint(format!("install {program}, and see that it is on PATH"))
}

fn grep(text: &str, pattern: &str) -> Result<()> {
    let built = regex::RegexBuilder::new(pattern).multi_line(true).build();
    let found = built
        .map_err(|e| Error::caused_by(ErrorKind::Invalid, format!("read {pattern:?}"), e))?
        .is_match(text);
    match found {
        true => Ok(()),
        false => invalid(format!("nothing matches {pattern}; it printed:\n{text}")),
    }
}

/// Replaces `\n`, `\t`, `\\`, `\"`; anything else after a backslash stays.
fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some(c @ ('\\' | '"' | '\'')) => plain.push(c),
            Some(c) => plain.extend(['\\', c]),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_in(dir: &Path, script: &str) -> Result<Handler> {
        let tools = Tools::new(
            dir.join("home"),
            std::env::var_os("PATH").unwrap_or_default(),
        );
        run(&tools.unwrap(), script.as_bytes(), &dir.join("work")).await
    }

    #[tokio::test]
    async fn a_script_makes_files_and_says_how_they_are_served() {
        let dir = tempfile::tempdir().unwrap();
        let script = "handle dir\nmkdir a/b\ncp x a/b\ncd a\nreplace o 0 b/x\necho hi\n\
            cp stdout y\ncmp stdout y\nstdout '^hi$'\n! grep zz b/x\n? rm nothing\n\
            [GOOS:plan9] nonsense\nrm ../x\n-- x --\noo\n";
        let handler = run_in(dir.path(), script).await.unwrap();
        assert_eq!(handler.kind, Kind::Dir);
        let read = |path: &str| fs::read_to_string(dir.path().join("work").join(path));
        assert_eq!(read("a/b/x").unwrap(), "00\n");
        assert_eq!(read("a/y").unwrap(), "hi\n");
        assert!(read("x").is_err());
    }

    #[tokio::test]
    async fn a_script_stays_in_its_directory_and_runs_no_other_program() {
        for (script, told) in [
            ("handle dir\ncat ../../etc/passwd\n", "leaves"),
            ("handle dir\ncat /etc/passwd\n", "not below"),
            ("handle dir\nrm .\n", "stays"),
            ("handle dir\nsh -c x\n", "no command is called sh"),
            ("handle dir\nhandle dir\n", "already"),
            ("handle cvs\n", "served as cvs"),
            ("echo x\n", "how the result is served"),
            ("handle dir\ncmp a b\n-- a --\n1\n-- b --\n2\n", "differ"),
            ("handle dir\n-- ../x --\n1\n", "leaves"),
            ("handle dir\n! echo x\n", "was to fail"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let error = run_in(dir.path(), script).await.err().unwrap().chain();
            assert!(error.contains(told), "{script:?}: {error}");
        }
    }
}
