//! The folder in which gomote keeps names, tokens and groups.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// Where a user has logged in, and what renews their token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The identity provider.
    pub issuer: String,
    /// What programs of the farm are called there.
    pub client_id: String,
    /// Their secret, where the provider wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// What the provider gives another token for.
    pub refresh_token: String,
}

impl fmt::Debug for Login {
    /// Leaves out the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({} at {})", self.client_id, self.issuer)
    }
}

/// How the file of one ends.
const LOGIN: &str = ".login";

/// The folder: `$XDG_CONFIG_HOME/gomote` or `~/.config/gomote`, as Go's program has it.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder of a home directory, or below `config_home` when that is set.
    #[must_use]
    pub fn of_home(home: &Path, config_home: Option<&Path>) -> Self {
        let config = config_home.filter(|dir| !dir.as_os_str().is_empty());
        let config = config.map_or_else(|| home.join(".config"), Path::to_owned);
        Self(config.join("gomote"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What `user` is called by the coordinator: the content of `user-NAME.user`, else the same.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn user(&self, user: &str) -> Result<String> {
        let alias = read(&self.file(user, ".user", false)?)?;
        Ok(alias.unwrap_or_else(|| user.to_owned()))
    }

    /// The token of a user.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the file when there is none.
    pub fn token(&self, user: &str, staging: bool) -> Result<String> {
        let path = self.file(user, ".token", staging)?;
        read(&path)?.ok_or_else(|| {
            let text = format!("Missing file {} for user {user:?}", path.display());
            Error::new(ErrorKind::NotFound, text)
                .with_hint("Change --user or obtain a token and place it there: gomote login")
        })
    }

    /// Keeps the token of a user, readable by its owner alone; where it lies.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_token(&self, user: &str, staging: bool, token: &str) -> Result<PathBuf> {
        let path = self.file(user, ".token", staging)?;
        match self.keep(&path, token) {
            Ok(()) => Ok(path),
            Err(error) => Err(Error::from(error).while_doing(format!("write {}", path.display()))),
        }
    }

    /// How the token of a user is renewed; `None` when they have not logged in at a provider.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn login(&self, user: &str, staging: bool) -> Result<Option<Login>> {
        let path = self.file(user, LOGIN, staging)?;
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let login = serde_json::from_str(&text).map_err(|e| {
            Error::caused_by(ErrorKind::Corrupt, format!("read {}", path.display()), e)
                .with_hint("log in again: gomote login -device")
        })?;
        Ok(Some(login))
    }

    /// Keeps how a token is renewed, readable by its owner alone; `None` forgets it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_login(&self, user: &str, staging: bool, login: Option<&Login>) -> Result<()> {
        let path = self.file(user, LOGIN, staging)?;
        let what = || format!("write {}", path.display());
        let kept = match login {
            Some(login) => {
                let text = serde_json::to_string(login);
                let text = text.map_err(|e| Error::caused_by(ErrorKind::Bug, what(), e))?;
                self.keep(&path, &text)
            }
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
        };
        kept.map_err(|error| Error::from(error).while_doing(what()))
    }

    /// A whole file or none.
    fn keep(&self, path: &Path, text: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let mut file = tempfile::Builder::new()
            .prefix(".token")
            .tempfile_in(&self.0)?;
        writeln!(file, "{}", text.trim())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// A file of a user. A name with a slash would be a file elsewhere.
    fn file(&self, user: &str, end: &str, staging: bool) -> Result<PathBuf> {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '\\');
        if user.is_empty() || !user.chars().all(plain) {
            let text = format!("{user:?} cannot be the name of a user");
            return Err(Error::new(ErrorKind::Invalid, text).with_hint("name another with -user"));
        }
        let before = if staging { "staging-" } else { "" };
        Ok(self.0.join(format!("{before}user-{user}{end}")))
    }
}

/// The text of a file without the white space around it; `None` when it is not there.
fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from(error).while_doing(format!("read {}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tokens_are_where_gos_program_has_them() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::of_home(home.path(), None);
        assert!(folder.path().ends_with(".config/gomote"));
        let missing = folder.token("ann", false).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains("user-ann.token"), "{missing}");
        let path = folder.keep_token("ann", true, " t0ken\n").unwrap();
        assert!(path.ends_with("staging-user-ann.token"));
        assert_eq!(folder.token("ann", true).unwrap(), "t0ken");
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let login = Login {
            issuer: "https://login.example.org".into(),
            client_id: "farm".into(),
            client_secret: None,
            refresh_token: "again".into(),
        };
        folder.keep_login("ann", false, Some(&login)).unwrap();
        assert_eq!(folder.login("ann", false).unwrap(), Some(login));
        assert_eq!(folder.login("ann", true).unwrap(), None);
        folder.keep_login("ann", false, None).unwrap();
        folder.keep_login("ann", false, None).unwrap();
        assert_eq!(folder.login("ann", false).unwrap(), None);
        std::fs::write(folder.path().join("user-ann.login"), "{").unwrap();
        assert!(folder.login("ann", false).is_err());
        std::fs::write(folder.path().join("user-ann.user"), "anna\n").unwrap();
        assert_eq!(folder.user("ann").unwrap(), "anna");
        assert_eq!(folder.user("bob").unwrap(), "bob");
        assert!(folder.token("../x", false).is_err());
        let other = Folder::of_home(home.path(), Some(Path::new("/c")));
        assert_eq!(other.path(), Path::new("/c/gomote"));
    }
}
