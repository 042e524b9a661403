//! Signatures of archives: minisign here, OpenPGP by the program `gpgv`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use minisign_verify::{PublicKey, Signature as Minisig};
use serde::Deserialize;
use tokio::time::timeout;

use crate::httpdl::part::failed;
use crate::{Error, ErrorKind, Result};

/// The longest time for `gpgv`; an archive is hashed once.
const GPGV: Duration = Duration::from_secs(300);

/// How the archives of a row are signed. Without it their SHA-256 alone is checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub(super) enum Signature {
    /// With minisign; the key as it prints it.
    Minisign {
        /// Where the signature is.
        url: String,
        /// The public key.
        key: String,
    },
    /// With OpenPGP.
    Pgp {
        /// Where the detached signature is.
        url: String,
        /// A keyring that `gpgv` reads: whom to trust is the owner's choice.
        keyring: PathBuf,
    },
}

impl Signature {
    pub(super) fn url(&self) -> &str {
        match self {
            Self::Minisign { url, .. } | Self::Pgp { url, .. } => url,
        }
    }

    /// Checks the archive against its signature.
    pub(super) async fn check(&self, archive: &Path, signature: &[u8]) -> Result<()> {
        match self {
            Self::Minisign { key, .. } => {
                let (key, archive) = (key.clone(), archive.to_owned());
                let signature = String::from_utf8_lossy(signature).into_owned();
                tokio::task::spawn_blocking(move || minisign(&key, &signature, &archive))
                    .await
                    .map_err(|error| Error::caused_by(ErrorKind::Bug, "check a signature", error))?
            }
            Self::Pgp { keyring, .. } => pgp(keyring, archive, signature).await,
        }
    }
}

fn wrong(archive: &Path, cause: impl std::fmt::Display) -> Error {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("the signature of {name} is not right: {cause}");
    Error::new(ErrorKind::Corrupt, what)
}

fn minisign(key: &str, signature: &str, archive: &Path) -> Result<()> {
    let key = PublicKey::from_base64(key).map_err(|error| {
        let error = Error::caused_by(ErrorKind::Invalid, "the minisign key of the row", error);
        error.with_hint("the line that begins with RW")
    })?;
    let signature = Minisig::decode(signature).map_err(|error| wrong(archive, error))?;
    let mut check = key
        .verify_stream(&signature)
        .map_err(|error| wrong(archive, error))?;
    let mut file = std::fs::File::open(archive).map_err(|error| failed("read", archive, error))?;
    std::io::copy(&mut file, &mut Checking(&mut check))
        .map_err(|error| failed("read", archive, error))?;
    check.finalize().map_err(|error| wrong(archive, error))?;
    // Signed with the file: another, older archive of the same project does not pass for this one.
    let named = signature
        .trusted_comment()
        .split('\t')
        .find_map(|part| part.strip_prefix("file:"));
    let name = archive.file_name().and_then(|name| name.to_str());
    match named {
        Some(named) if Some(named) != name => Err(wrong(archive, format!("it is that of {named}"))),
        _ => Ok(()),
    }
}

struct Checking<'a, 'b>(&'a mut minisign_verify::StreamVerifier<'b>);

impl std::io::Write for Checking<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn pgp(keyring: &Path, archive: &Path, signature: &[u8]) -> Result<()> {
    let beside = crate::httpdl::part::beside(archive, ".sig");
    std::fs::write(&beside, signature).map_err(|error| failed("write", &beside, error))?;
    let keyring = std::path::absolute(keyring).map_err(|error| failed("find", keyring, error))?;
    let mut gpgv = tokio::process::Command::new("gpgv");
    gpgv.arg("--keyring")
        .arg(&keyring)
        .arg(&beside)
        .arg(archive);
    gpgv.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let done = timeout(GPGV, gpgv.output()).await;
    std::fs::remove_file(&beside).map_err(|error| failed("remove", &beside, error))?;
    let done = done.map_err(|_| Error::new(ErrorKind::TimedOut, "gpgv took too long"))?;
    let done = done.map_err(|error| {
        Error::from(error)
            .while_doing("start gpgv, which checks OpenPGP signatures")
            .with_hint("install gpgv, or take [signature] out of the row")
    })?;
    match done.status.success() {
        true => Ok(()),
        false => Err(wrong(archive, String::from_utf8_lossy(&done.stderr).trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key pair and signatures made by minisign.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const OF_TEST: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1556193335\tfile:test
y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==";

    #[test]
    fn a_signature_is_of_one_file_by_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        minisign(KEY, OF_TEST, &file("test", "test")).unwrap();
        let told = |key, signature: &str, path: std::path::PathBuf| {
            let error = minisign(key, signature, &path).unwrap_err();
            error.chain()
        };
        assert!(told(KEY, OF_TEST, file("test", "tesu")).contains("is not right"));
        assert!(told(KEY, OF_TEST, file("older", "test")).contains("it is that of test"));
        assert!(told(KEY, "nothing", file("test", "test")).contains("is not right"));
        assert!(told("nothing", OF_TEST, file("test", "test")).contains("minisign key"));
    }
}
