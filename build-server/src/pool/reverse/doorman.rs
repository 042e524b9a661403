//! Who may register.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use build_core::key::MasterKey;
use build_core::{Error, ErrorKind, Result};

use crate::front::Peer;
use crate::who::{Caller, Credential, Directory, Refusal, Right};

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

/// What a machine was let in by. It is looked at again while the machine is there.
#[derive(Clone)]
pub struct Pass {
    host: Box<str>,
    host_type: Box<str>,
    /// Who it was then; `None`: whoever knows the key, for good.
    caller: Option<Box<Caller>>,
    /// A key that is made from a master key: there is no list to look it up in.
    legacy_key: Option<Box<str>>,
    from: IpAddr,
}

impl fmt::Debug for Pass {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("host", &self.host)
            .field("host_type", &self.host_type)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

impl Pass {
    /// One that stays good.
    #[must_use]
    pub fn new(applicant: Applicant<'_>) -> Self {
        Self {
            host: applicant.host.into(),
            host_type: applicant.host_type.into(),
            caller: None,
            legacy_key: None,
            from: applicant.peer.address.ip(),
        }
    }

    /// What the machine calls itself.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The kind that it says it is.
    #[must_use]
    pub fn host_type(&self) -> &str {
        &self.host_type
    }
}

/// Decides which machines may register as what.
#[async_trait]
pub trait Doorman: Send + Sync {
    /// Whether the machine may register under that name and as that kind: the pass that it has
    /// from then on.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it may not, with the reason for the log: the machine itself is
    /// told only that its key is not right. Other kinds when nobody can tell now.
    async fn may_register(&self, applicant: Applicant<'_>) -> Result<Pass>;

    /// Whether what a machine was let in by is good still. It is asked several times a second for
    /// each machine and must not wait; a machine whose pass is not good is sent away at once. By
    /// default every pass stays good.
    ///
    /// # Errors
    /// When nobody can tell now: the machine stays meanwhile.
    fn may_stay(&self, pass: &Pass) -> Result<bool> {
        let _for_good = pass;
        Ok(true)
    }
}

/// One key for all machines of a kind, as Go buildlets have it.
#[async_trait]
impl Doorman for MasterKey {
    async fn may_register(&self, applicant: Applicant<'_>) -> Result<Pass> {
        match self.accepts(applicant.host_type, applicant.key) {
            true => Ok(Pass::new(applicant)),
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
    async fn may_register(&self, applicant: Applicant<'_>) -> Result<Pass> {
        let shown = Credential::builder(applicant.host_type, applicant.key);
        let from = Some(applicant.peer.address.ip());
        let caller = self.caller(&shown, from).await.map_err(refused)?;
        let right = Right::Register {
            host_type: applicant.host_type,
            name: applicant.host,
        };
        caller.require(right).map_err(refused)?;
        let legacy_key = caller.is_legacy().then(|| applicant.key.into());
        Ok(Pass {
            caller: Some(Box::new(caller)),
            legacy_key,
            ..Pass::new(applicant)
        })
    }

    fn may_stay(&self, pass: &Pass) -> Result<bool> {
        let Some(caller) = &pass.caller else {
            return Ok(true);
        };
        let right = Right::Register {
            host_type: &pass.host_type,
            name: &pass.host,
        };
        let now = match (caller.key(), &pass.legacy_key) {
            (Some(key), _) => self.still(key)?,
            (None, Some(key)) => self.still_builder(&pass.host_type, key, pass.from)?,
            // The token of the owner.
            (None, None) => self.still_user(caller)?,
        };
        Ok(now.is_some_and(|caller| caller.may(right)))
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
        let pass = ask("box1", "linux", &key).await.unwrap();
        assert!(!format!("{pass:?}").contains(&key));
        for (host, host_type) in [("box2", "linux"), ("box1", "mac")] {
            let (kind, text) = ask(host, host_type, &key).await.unwrap_err();
            assert_eq!(kind, ErrorKind::Denied);
            assert!(text.contains("may not") && !text.contains(&key), "{text}");
        }
        assert_eq!(
            ask("box1", "linux", "x").await.unwrap_err().0,
            ErrorKind::Denied
        );
        assert!(directory.may_stay(&pass).unwrap());
        directory.revoke_key(&owner, &made.key.id).unwrap();
        assert!(!directory.may_stay(&pass).unwrap());
    }

    #[tokio::test]
    async fn a_legacy_key_is_good_until_its_name_is_refused() {
        let master = MasterKey::new("secret").unwrap();
        let options = crate::who::Options::default().master(master.clone());
        let directory = Directory::memory_with(options);
        let key = master.key_of("host-linux");
        let applicant = Applicant {
            host: "box1",
            host_type: "host-linux",
            key: &key,
            peer: Peer {
                address: ([192, 0, 2, 1], 1).into(),
                encrypted: true,
                local: false,
            },
        };
        let pass = directory.may_register(applicant).await.unwrap();
        assert!(directory.may_stay(&pass).unwrap());
        assert!(!format!("{pass:?}").contains(&key));
        let owner = Principal::person("owner");
        directory.refuse_name(&owner, "host-linux").unwrap();
        assert!(!directory.may_stay(&pass).unwrap());
    }
}
