//! Private keys of a gateway in the data directory.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use build_core::{Error, ErrorKind, Result};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

/// Longest file that is taken for a key.
const MAX_BYTES: u64 = 64 << 10;

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let text = format!("cannot {what} {}", path.display());
    Error::caused_by(ErrorKind::Unavailable, text, error)
}

/// The private key in a file; made when there is none, with its public half beside it.
pub(super) fn private_key(path: &Path, comment: &str) -> Result<PrivateKey> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let dir = path.parent().unwrap_or(path);
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(|e| failed("make", dir, e))?;
    let key = draw(comment)?;
    write(path, &key).map_err(|e| failed("write", path, e))?;
    // Another process may have been first: its key is the one that counts.
    read(path)?.ok_or_else(|| failed("read", path, io::ErrorKind::NotFound.into()))
}

fn read(path: &Path) -> Result<Option<PrivateKey>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, error)),
    };
    let about = file.metadata().map_err(|e| failed("read", path, e))?;
    if about.permissions().mode() & 0o077 != 0 {
        let text = format!("others may read the private key {}", path.display());
        let hint = format!("take it from them with: chmod 600 {}", path.display());
        return Err(Error::new(ErrorKind::Denied, text).with_hint(hint));
    }
    let damaged = |text: String| {
        let text = format!("{} is no private key: {text}", path.display());
        Error::new(ErrorKind::Corrupt, text).with_hint(
            "put back a copy; or move it away, then another one is made, and clients complain once",
        )
    };
    if about.len() > MAX_BYTES {
        return Err(damaged("it is too long".into()));
    }
    let text = fs::read(path).map_err(|e| failed("read", path, e))?;
    let key = PrivateKey::from_openssh(&text).map_err(|e| damaged(e.to_string()))?;
    match key.key_data() {
        KeypairData::Ed25519(_) | KeypairData::Ecdsa(_) => Ok(Some(key)),
        KeypairData::Encrypted(_) => Err(damaged("it has a passphrase".into())),
        _ => Err(damaged("only the kinds ed25519 and ecdsa are taken".into())),
    }
}

fn draw(comment: &str) -> Result<PrivateKey> {
    let mut seed = [0; 32];
    let drawn = getrandom::fill(&mut seed);
    drawn.map_err(|e| Error::caused_by(ErrorKind::Bug, "draw a key", e))?;
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    PrivateKey::new(pair, comment)
        .map_err(|e| Error::caused_by(ErrorKind::Bug, "make a private key", e))
}

/// Writes a key that is not there yet, as a whole or not at all.
fn write(path: &Path, key: &PrivateKey) -> io::Result<()> {
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    let new = PathBuf::from(format!("{}.new-{}", path.display(), std::process::id()));
    let written = write_new(&new, text.as_bytes()).and_then(|()| fs::hard_link(&new, path));
    // What counts is the first error.
    let _ = fs::remove_file(&new);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        written => written?,
    }
    let public = key.public_key().to_openssh().map_err(io::Error::other)?;
    fs::write(format!("{}.pub", path.display()), public + "\n")
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ssh/host");
        let made = private_key(&path, "farm").unwrap();
        let again = private_key(&path, "other").unwrap();
        assert_eq!(made.public_key(), again.public_key());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = fs::read_to_string(dir.path().join("ssh/host.pub")).unwrap();
        assert!(public.starts_with("ssh-ed25519 ") && public.ends_with(" farm\n"));
        assert_eq!(fs::read_dir(dir.path().join("ssh")).unwrap().count(), 2);
    }

    #[test]
    fn keys_that_others_read_and_damaged_ones_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host");
        private_key(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = private_key(&path, "").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.hint().unwrap().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let whole = fs::read(&path).unwrap();
        for text in [&b""[..], b"x", &whole[..whole.len() / 2]] {
            fs::write(&path, text).unwrap();
            let error = private_key(&path, "").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains(path.to_str().unwrap()));
        }
    }
}
