//! The token of the owner, in a file that the owner alone can read.

use std::fs::{OpenOptions, Permissions};
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use build_core::key::Token;
use build_core::{Error, ErrorKind, Result};

/// The file of the token in the data directory.
const TOKEN_FILE: &str = "token";

/// One token in a file that its owner alone can read: whoever reads it is the admin.
#[derive(Clone)]
pub struct TokenFile {
    path: PathBuf,
    token: Token,
}

impl std::fmt::Debug for TokenFile {
    /// Leaves out the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl TokenFile {
    /// The token of a data directory; drawn and written there at the first call.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when others than its owner may read the file; otherwise when it
    /// cannot be read or written.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(TOKEN_FILE);
        let failed = |error: std::io::Error| {
            Error::from(error).while_doing(format!("read the token {}", path.display()))
        };
        let token = match draw_into(&path) {
            Ok(token) => token,
            Err(error) if error.kind() == Io::AlreadyExists => {
                check_private(&path)?;
                parse(&path, &std::fs::read_to_string(&path).map_err(failed)?)?
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { path, token })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token, to be shown by programs of its owner.
    pub fn token(&self) -> &str {
        self.token.reveal()
    }

    /// Whether `shown` is the token; in constant time.
    pub(crate) fn accepts(&self, shown: &Token) -> bool {
        self.token.hash().accepts(shown)
    }
}

fn parse(path: &Path, text: &str) -> Result<Token> {
    Token::parse(text).map_err(|_| {
        let text = format!("the file {} holds no token", path.display());
        Error::new(ErrorKind::Corrupt, text)
            .with_hint("remove it: the next start draws a new token")
    })
}

/// Writes a new token, whole or not at all; an older one is left alone.
fn draw_into(path: &Path) -> std::io::Result<Token> {
    if path.exists() {
        return Err(Io::AlreadyExists.into());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    let token = Token::from_entropy(bytes);
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{}", token.reveal())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(token)
}

fn check_private(path: &Path) -> Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let text = format!("the token {} can be read by others", path.display());
    let hint = format!("remove it, a new one is drawn: rm {}", path.display());
    Err(Error::new(ErrorKind::Denied, text).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = TokenFile::open(dir.path()).unwrap();
        let metadata = std::fs::metadata(first.path()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        let again = TokenFile::open(dir.path()).unwrap();
        assert_eq!(again.token(), first.token());
        assert!(again.accepts(&Token::parse(first.token()).unwrap()));
        assert!(!again.accepts(&Token::from_entropy([1; 32])));
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let token = TokenFile::open(dir.path()).unwrap();
        std::fs::set_permissions(token.path(), Permissions::from_mode(0o644)).unwrap();
        let error = TokenFile::open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint().unwrap().contains("rm "), "{error:?}");
    }
}
