//! Credentials for git: cookies for hosts, in a file that git reads.
//!
//! Only the child processes that are told of the file use it ([`GitCredentials::env`]): the
//! user's own configuration of git stays as it is, unless [`configure_global`] is asked for.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::secret::Secret;
use crate::{Error, ErrorKind, Result};

/// Seconds since 1970 at which the cookies expire: the largest that old programs read.
const EXPIRES: u64 = 2_147_483_647;

/// Who git is to the hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitCredentials {
    hosts: Vec<String>,
    cookie: String,
    user: String,
}

impl GitCredentials {
    /// The user `user` of `hosts`, by the cookie that googlesource.com takes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] without a host, or for a name that would break the file.
    pub fn new(
        hosts: impl IntoIterator<Item: Into<String>>,
        user: impl Into<String>,
    ) -> Result<Self> {
        let credentials = Self {
            hosts: hosts.into_iter().map(Into::into).collect(),
            cookie: "o".to_owned(),
            user: user.into(),
        };
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b';')
        };
        if credentials.hosts.is_empty() || !credentials.hosts.iter().all(|host| plain(host)) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("bad hosts of git {:?}", credentials.hosts),
            ));
        }
        if !plain(&credentials.user) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("bad user of git {:?}", credentials.user),
            ));
        }
        Ok(credentials)
    }

    /// Those of the Go project's robot.
    #[must_use]
    pub fn go() -> Self {
        let hosts = ["go.googlesource.com", "go-review.googlesource.com"];
        Self::new(hosts, "git-gobot.gmail.com").expect("plain words")
    }

    /// The name of the cookie (`o`).
    #[must_use]
    pub fn cookie(self, name: impl Into<String>) -> Self {
        Self {
            cookie: name.into(),
            ..self
        }
    }

    /// The line for a host.
    fn line(&self, host: &str, secret: &str) -> String {
        format!(
            "{host}\tFALSE\t/\tTRUE\t{EXPIRES}\t{}\t{}={secret}\n",
            self.cookie, self.user
        )
    }

    /// Writes the cookies of the hosts into the file at `path`, which only its owner can read.
    /// Lines of other hosts and cookies stay. The file is the old or the new one, never a part.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a secret that would break the file, [`ErrorKind::Unavailable`]
    /// when it cannot be written; it is then as it was.
    pub fn write(&self, path: &Path, secret: &Secret) -> Result<()> {
        let secret = secret.reveal().trim();
        if secret.is_empty() || secret.chars().any(|c| c.is_control() || c == ';') {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the secret for git is empty or no single line",
            ));
        }
        let failed = |error: io::Error| {
            Error::caused_by(
                ErrorKind::Unavailable,
                format!("writing {}", path.display()),
                error,
            )
        };
        let old = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        for line in old.lines().filter(|line| !self.is_ours(line)) {
            text.push_str(line);
            text.push('\n');
        }
        for host in &self.hosts {
            text.push_str(&self.line(host, secret));
        }
        let dir = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        // Readable by its owner alone from the beginning.
        let mut file = tempfile::Builder::new()
            .prefix(".gitcookies")
            .tempfile_in(dir)
            .map_err(failed)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn is_ours(&self, line: &str) -> bool {
        let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
        let fields: Vec<&str> = line.split('\t').collect();
        fields.len() >= 7
            && fields[5] == self.cookie
            && self.hosts.iter().any(|host| host == fields[0])
    }

    /// The environment with which a git process, and it alone, uses the cookies in `path`.
    #[must_use]
    pub fn env(path: &Path) -> [(&'static str, String); 3] {
        [
            ("GIT_CONFIG_COUNT", "1".to_owned()),
            ("GIT_CONFIG_KEY_0", "http.cookiefile".to_owned()),
            ("GIT_CONFIG_VALUE_0", path.display().to_string()),
        ]
    }
}

/// Where the cookies of the user with this home directory are: `HOME/.gitcookies`.
///
/// # Errors
/// [`ErrorKind::Invalid`] without a home directory.
pub fn cookie_file(home: Option<PathBuf>) -> Result<PathBuf> {
    home.filter(|home| !home.as_os_str().is_empty())
        .map(|home| home.join(".gitcookies"))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                "HOME is not set: nobody knows where the cookies of git are",
            )
            .with_hint("set HOME, or name the file")
        })
}

/// Makes every git process of the user with this home directory use the cookies in `path`, as
/// Go's programs did.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when git cannot be run or refuses.
pub fn configure_global(home: &Path, path: &Path) -> Result<()> {
    let failed = |text: String| Error::new(ErrorKind::Unavailable, format!("git config: {text}"));
    let done = Command::new("git")
        .args(["config", "--global", "http.cookiefile"])
        .arg(path)
        .env("HOME", home)
        .env_remove("GIT_CONFIG_GLOBAL")
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if done.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&done.stderr).trim().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn cookies_are_the_owners_alone_and_one_line_a_host() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".gitcookies");
        std::fs::write(&path, "# mine\nother.test\tFALSE\t/\tTRUE\t1\to\tkeep\ngo.googlesource.com\tFALSE\t/\tTRUE\t1\to\told").unwrap();
        for _ in 0..2 {
            GitCredentials::go()
                .write(&path, &Secret::new("s3cret\n"))
                .unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "# mine\nother.test\tFALSE\t/\tTRUE\t1\to\tkeep\n\
             go.googlesource.com\tFALSE\t/\tTRUE\t2147483647\to\tgit-gobot.gmail.com=s3cret\n\
             go-review.googlesource.com\tFALSE\t/\tTRUE\t2147483647\to\tgit-gobot.gmail.com=s3cret\n"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for bad in ["", " \n", "a\tb", "a\nb"] {
            assert!(
                GitCredentials::go()
                    .write(&path, &Secret::new(bad))
                    .is_err(),
                "{bad:?}"
            );
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "as it was");
        assert!(GitCredentials::new(Vec::<String>::new(), "u").is_err());
        assert!(GitCredentials::new(["a\tb"], "u").is_err());
    }

    #[test]
    fn git_reads_the_file_when_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let path = cookie_file(Some(home.clone())).unwrap();
        let asked = |env: &[(&str, String)]| {
            let mut git = Command::new("git");
            git.args(["config", "http.cookiefile"])
                .current_dir(dir.path())
                .env("HOME", &home)
                .env_remove("XDG_CONFIG_HOME");
            git.env("GIT_CONFIG_NOSYSTEM", "1")
                .envs(env.iter().map(|(name, value)| (*name, value)));
            String::from_utf8(git.output().unwrap().stdout)
                .unwrap()
                .trim()
                .to_owned()
        };
        assert_eq!(asked(&[]), "");
        assert_eq!(
            asked(&GitCredentials::env(&path)),
            path.display().to_string()
        );
        configure_global(&home, &path).unwrap();
        assert_eq!(asked(&[]), path.display().to_string());
        let error = cookie_file(None).unwrap_err();
        assert!(error.to_string().starts_with("HOME is not set"), "{error}");
    }
}
