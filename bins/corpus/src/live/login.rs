//! How a program proves to GitHub who it is.

use std::path::{Path, PathBuf};

use farmer_cli::{Exit, Failure};
use maintner_core::sync::github::auth::{App, Credentials};
use maintner_core::sync::github::rest::AppKey;

use super::report::failure;

/// What a program knows of its credentials. Secrets come from files, never from a command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login {
    /// A file with a token, or with `user:token`.
    pub(crate) token_file: Option<PathBuf>,
    /// `ID:INSTALLATION:KEYFILE`.
    pub(crate) app: Option<String>,
}

impl Login {
    /// Whether there are credentials.
    pub(crate) fn is_somebody(&self, home: Option<&Path>) -> Result<bool, Failure> {
        let credentials = self.credentials(home)?;
        Ok(!matches!(credentials, Credentials::Nobody))
    }

    /// The credentials for one client; nobody's when no file is named and the usual one is not
    /// there.
    pub(crate) fn credentials(&self, home: Option<&Path>) -> Result<Credentials, Failure> {
        if let Some(app) = &self.app {
            return self.of_app(app);
        }
        let usual = home.map(|home| home.join(".github-issue-token"));
        let (path, named) = match (&self.token_file, usual) {
            (Some(path), _) => (path.clone(), true),
            (None, Some(path)) => (path, false),
            (None, None) => return Ok(Credentials::Nobody),
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let text = text.trim();
                let token = text.split_once(':').map_or(text, |(_user, token)| token);
                if token.is_empty() || token.contains(char::is_whitespace) {
                    return Err(Failure::usage(
                        format!("{} holds no token", path.display()),
                        "write the token, or user:token, on one line",
                    ));
                }
                Ok(Credentials::Token(token.to_owned()))
            }
            Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Credentials::Nobody)
            }
            Err(error) => {
                let error =
                    anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
                Err(Failure::because(Exit::Usage, error.as_ref(), None))
            }
        }
    }

    fn of_app(&self, app: &str) -> Result<Credentials, Failure> {
        let wrong = || {
            Failure::usage(
                format!("{app:?} is no App"),
                "write ID:INSTALLATION:KEYFILE, for example 1234:5678:/etc/farmer/app.pem",
            )
        };
        let mut parts = app.splitn(3, ':');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (id, installation) = (number().ok_or_else(wrong)?, number().ok_or_else(wrong)?);
        let path = parts.next().ok_or_else(wrong)?;
        let pem = std::fs::read(path).map_err(|error| {
            let error = anyhow::Error::new(error).context(format!("cannot read {path}"));
            Failure::because(Exit::Usage, error.as_ref(), None)
        })?;
        let key = AppKey::from_pem(&pem).map_err(|error| failure(&error))?;
        Ok(Credentials::App(App::new(id, installation, key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".github-issue-token");
        let login = Login::default();
        let of = |login: &Login| login.credentials(Some(dir.path()));
        assert!(matches!(of(&login).unwrap(), Credentials::Nobody));
        std::fs::write(&file, "gopher:secret\n").unwrap();
        assert!(matches!(of(&login).unwrap(), Credentials::Token(token) if token == "secret"));
        std::fs::write(&file, " \n").unwrap();
        let error = of(&login).unwrap_err().message("x").unwrap();
        assert!(error.contains("holds no token"), "{error}");
        let missing = Login {
            token_file: Some(dir.path().join("none")),
            ..Login::default()
        };
        assert!(
            of(&missing)
                .unwrap_err()
                .message("x")
                .unwrap()
                .contains("none")
        );
        let app = Login {
            app: Some("1:x:key".into()),
            ..Login::default()
        };
        assert!(
            of(&app)
                .unwrap_err()
                .message("x")
                .unwrap()
                .contains("ID:INSTALLATION")
        );
    }
}
