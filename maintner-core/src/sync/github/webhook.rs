//! What GitHub sends by itself: a reason to look, never a source.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

/// What a delivery says happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// `owner/repo`.
    pub repo: String,
    /// The issue or pull request it is about, if it is about one.
    pub number: Option<i32>,
}

impl Trigger {
    /// The name of the reader to wake.
    pub fn topic(&self) -> String {
        format!("github:{}", self.repo)
    }
}

/// Why a delivery was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no signature, or it is not that of the secret.
    #[error("the delivery is not signed with the webhook's secret")]
    Unsigned,
    /// It is no delivery of GitHub.
    #[error("the delivery cannot be read: {0}")]
    Unreadable(String),
}

#[derive(Deserialize)]
struct Delivery {
    repository: Option<Repository>,
    issue: Option<Numbered>,
    pull_request: Option<Numbered>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct Numbered {
    number: i32,
}

/// Checks the signature of a delivery (`X-Hub-Signature-256`) and reads what it is about; nothing
/// for deliveries about no repository.
///
/// # Errors
/// [`Refused`].
pub fn read(secret: &[u8], signature: &str, body: &[u8]) -> Result<Option<Trigger>, Refused> {
    let given = signature.strip_prefix("sha256=");
    let given = given.and_then(|digits| hex::decode(digits).ok());
    let given = given.ok_or(Refused::Unsigned)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| Refused::Unsigned)?;
    mac.update(body);
    // Takes the same time for all signatures.
    mac.verify_slice(&given).map_err(|_| Refused::Unsigned)?;
    let delivery: Delivery =
        serde_json::from_slice(body).map_err(|error| Refused::Unreadable(error.to_string()))?;
    let number = delivery.issue.or(delivery.pull_request);
    Ok(delivery.repository.map(|repository| Trigger {
        repo: repository.full_name,
        number: number.map(|of| of.number),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signed_deliveries_are_read() {
        // The example of GitHub's documentation.
        let (secret, body) = (b"It's a Secret to Everybody", b"Hello, World!");
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let read_it = |signature: &str| read(secret, signature, body);
        assert!(matches!(read_it(signature), Err(Refused::Unreadable(_))));
        for bad in ["", "sha256=", "sha1=75", "sha256=zz", &signature[..70]] {
            assert_eq!(read_it(bad), Err(Refused::Unsigned), "{bad}");
        }
        assert_eq!(read(b"other", signature, body), Err(Refused::Unsigned));
    }
}
