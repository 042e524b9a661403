//! Who may register.

use async_trait::async_trait;
use build_core::key::MasterKey;
use build_core::{Error, ErrorKind, Result};

use crate::front::Peer;
use crate::who::{Credential, Directory, Refusal, Right};

/// A machine that wants to register.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Applicant<'a> {
    /// What it calls itself.
    pub host: &'a str,
    /// The kind that it says it is.
    pub host_type: &'a str,
    /// What it shows for that: a secret.
    pub key: &'a str,
    /// Where it connects from.
    pub peer: Peer,
}

/// Decides which machines may register as what.
#[async_trait]
pub trait Doorman: Send + Sync {
    /// Whether the machine may register under that name and as that kind.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it may not, with the reason for the log: the machine itself is
    /// told only that its key is not right. Other kinds when nobody can tell now.
    async fn may_register(&self, applicant: Applicant<'_>) -> Result<()>;
}

/// One key for all machines of a kind, as Go buildlets have it.
#[async_trait]
impl Doorman for MasterKey {
    async fn may_register(&self, applicant: Applicant<'_>) -> Result<()> {
        match self.accepts(applicant.host_type, applicant.key) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Denied,
                format!("its key is not that of {}", applicant.host_type),
            )),
        }
    }
}

/// The keys and tokens of a farm: one of a machine is good for that machine's name and kind alone.
#[async_trait]
impl Doorman for Directory {
    async fn may_register(&self, applicant: Applicant<'_>) -> Result<()> {
        let shown = Credential::builder(applicant.host_type, applicant.key);
        let from = Some(applicant.peer.address.ip());
        let caller = self.caller(&shown, from).await.map_err(refused)?;
        let right = Right::Register {
            host_type: applicant.host_type,
            name: applicant.host,
        };
        caller.require(right).map_err(refused)
    }
}

fn refused(refusal: Refusal) -> Error {
    let kind = match &refusal {
        Refusal::Throttled(_) | Refusal::Unavailable(_) => ErrorKind::Unavailable,
        _ => ErrorKind::Denied,
    };
    Error::caused_by(kind, "it may not register", refusal)
}

#[cfg(test)]
mod tests {
    use build_core::event::Principal;

    use super::*;
    use crate::who::NewKey;

    #[tokio::test]
    async fn a_machines_token_is_good_for_its_own_name_alone() {
        let directory = Directory::memory();
        let owner = Principal::person("owner");
        let new = NewKey::of_machine("linux", "box1").unwrap();
        let made = directory.create_key(&owner, new).unwrap();
        let key = made.token.reveal().to_owned();
        let peer = Peer {
            address: ([127, 0, 0, 1], 1).into(),
            encrypted: true,
            local: true,
        };
        let ask = async |host: &str, host_type: &str, key: &str| {
            let applicant = Applicant {
                host,
                host_type,
                key,
                peer,
            };
            let asked = directory.may_register(applicant).await;
            asked.map_err(|error| (error.kind(), error.chain()))
        };
        ask("box1", "linux", &key).await.unwrap();
        for (host, host_type) in [("box2", "linux"), ("box1", "mac")] {
            let (kind, text) = ask(host, host_type, &key).await.unwrap_err();
            assert_eq!(kind, ErrorKind::Denied);
            assert!(text.contains("may not") && !text.contains(&key), "{text}");
        }
        assert_eq!(
            ask("box1", "linux", "x").await.unwrap_err().0,
            ErrorKind::Denied
        );
    }
}
