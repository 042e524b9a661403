//! Notices of code hosts: their signatures.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::{Error, ErrorKind, Result};

/// A hash by which a notice is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `sha1`: for senders that know no other.
    Sha1,
    /// `sha256`
    Sha256,
    /// `sha512`
    Sha512,
}

/// Checks the signature of a notice: `ALGORITHM=HEX`, an HMAC over the raw body. The comparison
/// takes the same time for every signature of the same length.
///
/// # Errors
/// [`ErrorKind::Invalid`] when it is not of this form, [`ErrorKind::Denied`] when it is wrong.
pub fn verify(secret: &[u8], body: &[u8], signature: &str) -> Result<Algorithm> {
    let malformed = || Error::new(ErrorKind::Invalid, "the signature is not ALGORITHM=HEX");
    let (name, code) = signature.split_once('=').ok_or_else(malformed)?;
    let code = hex::decode(code).map_err(|_| malformed())?;
    let (algorithm, is_right) = match name {
        "sha1" => (Algorithm::Sha1, {
            let mac = Hmac::<Sha1>::new_from_slice(secret).expect(ANY_LENGTH);
            mac.chain_update(body).verify_slice(&code).is_ok()
        }),
        "sha256" => (Algorithm::Sha256, {
            let mac = Hmac::<Sha256>::new_from_slice(secret).expect(ANY_LENGTH);
            mac.chain_update(body).verify_slice(&code).is_ok()
        }),
        "sha512" => (Algorithm::Sha512, {
            let mac = Hmac::<Sha512>::new_from_slice(secret).expect(ANY_LENGTH);
            mac.chain_update(body).verify_slice(&code).is_ok()
        }),
        _ => {
            let text = "the signature is of an algorithm other than sha1, sha256 and sha512";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    };
    match is_right {
        true => Ok(algorithm),
        false => Err(Error::new(ErrorKind::Denied, "signature mismatch")),
    }
}

/// The SHA-256 signature of a body, as a sender writes it.
#[must_use]
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect(ANY_LENGTH);
    let code = mac.chain_update(body).finalize().into_bytes();
    format!("sha256={}", hex::encode(code))
}

const ANY_LENGTH: &str = "HMAC takes keys of any length";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_that_code_hosts_send() {
        let body = br#"{"action":"opened"}"#;
        for (secret, body, signature) in [
            (
                "s3cr3t",
                &body[..],
                "sha1=94db619669011d2443ad27bfb1880ef60a756f97",
            ),
            (
                "s3cr3t",
                body,
                "sha256=893b8b176c39b217756497563a1b9ba1507d371642b1edf4ee9f876b8fd74ecc",
            ),
            (
                "key",
                b"body",
                "sha1=70bbf6819d1037aa94ca7e7f537cbea25fe49283",
            ),
            ("", b"", "sha1=fbdb1d1b18aa6c08324b7d64b71fb76370690e1d"),
            ("", b"body", "sha1=cc5e6b2b046bc7401d071a3d9be9a1cf1869376d"),
        ] {
            assert!(
                verify(secret.as_bytes(), body, signature).is_ok(),
                "{signature}"
            );
            let kind = |signature: &str| {
                verify(secret.as_bytes(), body, signature)
                    .unwrap_err()
                    .kind()
            };
            let (_, code) = signature.split_once('=').unwrap();
            let last = if code.ends_with('0') { '1' } else { '0' };
            let other = format!("{}{last}", &signature[..signature.len() - 1]);
            assert_eq!(kind(&other), ErrorKind::Denied);
            assert_eq!(kind(&signature[..signature.len() - 2]), ErrorKind::Denied);
            for malformed in ["", "sha1", code, "md5=00", "sha1=x"] {
                assert_eq!(kind(malformed), ErrorKind::Invalid, "{malformed}");
            }
        }
        assert_eq!(
            verify(b"k", b"b", &sign(b"k", b"b")).unwrap(),
            Algorithm::Sha256
        );
    }
}
