//! Public keys of users for ssh: who holds the private one is that user.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use build_core::clock::Timestamp;
use build_core::event::Principal;
use build_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::audit::{Act, AuditEvent};
use super::book::MAX_NOTE;
use super::change::{Note, invalid, no_user};
use super::directory::OWNER;
use super::{Caller, Directory, Role};

/// Keys that are kept of one user, and of all.
const MAX_OF_USER: usize = 100;
const MAX_KEYS: usize = 50_000;
/// Longest line of a key.
const MAX_LINE: usize = 16 << 10;
/// Kinds whose signatures are checked here.
const KINDS: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A public key as a line of a file `.pub` has it: its kind, the key, and a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshPublicKey {
    kind: &'static str,
    blob: Vec<u8>,
    comment: String,
}

impl SshPublicKey {
    /// What it is called by: `SHA256:` and a hash, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::digest(&self.blob);
        format!("SHA256:{}", STANDARD_NO_PAD.encode(hash))
    }

    /// The kind and the key, without the comment.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.kind, STANDARD.encode(&self.blob))
    }

    /// What stands behind the key: often whose it is, and where.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }
}

impl FromStr for SshPublicKey {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let line = line.trim();
        let hint = "give the line of a file such as ~/.ssh/id_ed25519.pub; make one with: ssh-keygen -t ed25519";
        // A private key may have been given: it is not repeated.
        let bad = |text: &str| invalid(text, hint);
        if line.len() > MAX_LINE || line.contains(char::is_control) {
            return Err(bad("this is not one line with a public key"));
        }
        let mut words = line.splitn(3, ' ');
        let kind = words.next().unwrap_or_default();
        if kind == "ssh-rsa" || kind == "ssh-dss" {
            return Err(bad("keys of the kinds rsa and dsa are not taken here"));
        }
        if kind.ends_with("-cert-v01@openssh.com") {
            return Err(bad("this is a certificate, not a public key"));
        }
        let known = KINDS.into_iter().find(|known| *known == kind);
        let kind = known.ok_or_else(|| bad("this does not begin with the kind of a public key"))?;
        let blob = words.next().and_then(|key| STANDARD.decode(key).ok());
        let blob = blob.ok_or_else(|| bad("the public key is not whole"))?;
        // The kind stands in the key once more, after its length.
        let named = blob.split_at_checked(4).and_then(|(length, rest)| {
            let length = u32::from_be_bytes(length.try_into().ok()?);
            rest.get(..length as usize)
        });
        if named != Some(kind.as_bytes()) || blob.len() < kind.len() + 36 {
            return Err(bad("the public key is not whole"));
        }
        let comment = words.next().unwrap_or_default().trim();
        Ok(Self {
            kind,
            blob,
            comment: comment.to_owned(),
        })
    }
}

impl fmt::Display for SshPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

/// A public key of a user, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SshKey {
    /// The user.
    pub user: String,
    /// The kind and the key.
    pub line: String,
    /// What people wrote beside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was added.
    pub added: Timestamp,
    /// Who added it.
    pub added_by: Principal,
}

impl Directory {
    /// Lets whoever holds the private half of a key be that user, over ssh. Adding it again
    /// changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a user that is not known, [`ErrorKind::Conflict`] when the key
    /// is somebody else's, [`ErrorKind::Limit`] when there are too many; when it cannot be written.
    pub fn add_ssh_key(
        &self,
        by: &Principal,
        user: &str,
        key: &SshPublicKey,
    ) -> Result<(String, SshKey)> {
        let fingerprint = key.fingerprint();
        self.change(by, |book, now| {
            if user != OWNER && !book.users.contains_key(user) {
                return Err(no_user(user));
            }
            if let Some(known) = book.ssh_keys.get(&fingerprint).filter(|k| k.user != user) {
                let text = format!("the key {fingerprint} is one of {:?}", known.user);
                return Err(Error::new(ErrorKind::Conflict, text)
                    .with_hint("remove it there first: farmer key ssh remove KEY"));
            }
            let own = book.ssh_keys.values().filter(|key| key.user == user);
            if own.count() >= MAX_OF_USER || book.ssh_keys.len() >= MAX_KEYS {
                let text = format!("a user has at most {MAX_OF_USER} keys for ssh, all {MAX_KEYS}");
                return Err(Error::new(ErrorKind::Limit, text).with_hint("remove some"));
            }
            let note: String = key.comment.chars().take(MAX_NOTE / 4).collect();
            let entry = book.ssh_keys.entry(fingerprint.clone());
            let entry = entry.or_insert_with(|| SshKey {
                user: user.to_owned(),
                line: key.line(),
                note,
                added: now,
                added_by: by.clone(),
            });
            let note = Note::new(
                Act::SshKeyAdded,
                format!("ssh key {fingerprint} of person:{user}"),
                entry.note.clone(),
            );
            Ok(((fingerprint.clone(), entry.clone()), note))
        })
    }

    /// Takes a key away; connections that it has opened go on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; when it cannot be written.
    pub fn remove_ssh_key(&self, by: &Principal, fingerprint: &str) -> Result<SshKey> {
        self.change(by, |book, _| {
            let removed = book.ssh_keys.remove(fingerprint).ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("there is no ssh key {fingerprint:?}"),
                )
                .with_hint("list them: farmer key ssh list")
            })?;
            let object = format!("ssh key {fingerprint} of person:{}", removed.user);
            Ok((removed, Note::new(Act::SshKeyRemoved, object, "")))
        })
    }

    /// Every key for ssh, by its fingerprint.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn ssh_keys(&self) -> Result<Vec<(String, SshKey)>> {
        let book = self.book()?;
        let pair = |(name, key): (&String, &SshKey)| (name.clone(), key.clone());
        Ok(book.book.ssh_keys.iter().map(pair).collect())
    }

    /// Whose key this is; `None` for one that nobody has. That somebody holds it is not said.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn ssh_caller(&self, fingerprint: &str) -> Result<Option<Caller>> {
        let book = self.book()?;
        match book.book.ssh_keys.get(fingerprint) {
            None => Ok(None),
            Some(key) => self.person(&key.user),
        }
    }

    /// A user by name, with what they are now; `None` when they are not known.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn person(&self, name: &str) -> Result<Option<Caller>> {
        let principal = Principal::person(name);
        if name == OWNER {
            return Ok(Some(Caller::new(principal, Role::Admin)));
        }
        let book = self.book()?;
        let user = book.book.users.get(name);
        Ok(user.map(|user| Caller::new(principal, user.role).reading(user.reads.clone())))
    }

    /// Remembers that somebody was refused over ssh, for the audit log and for
    /// [`Directory::ssh_wait`].
    pub fn ssh_refused(&self, from: IpAddr, claimed: &str, why: &str) {
        let plain = |c: char| if c.is_control() { '?' } else { c };
        let claimed: String = claimed.chars().take(80).map(plain).collect();
        let now = self.now();
        self.0.throttle.wrong(Some(from), now);
        let who = format!("ssh {claimed:?}");
        self.0.audit.refused(now, Some(from), who, why.to_owned());
    }

    /// How long whoever comes from there has to wait, for the many wrong keys that came.
    #[must_use]
    pub fn ssh_wait(&self, from: IpAddr) -> Option<Duration> {
        self.0.throttle.wait(Some(from), self.now())
    }

    /// Writes who did what with a session, durable on return.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn ssh_used(
        &self,
        by: &Principal,
        act: Act,
        object: String,
        text: String,
        from: IpAddr,
    ) -> Result<()> {
        self.0.audit.write(
            self.folder(),
            AuditEvent {
                at: self.now(),
                by: by.clone(),
                act,
                object,
                text,
                from: Some(from),
                times: 1,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ann@laptop";

    #[test]
    fn lines_of_public_keys() {
        let key: SshPublicKey = LINE.parse().unwrap();
        assert_eq!((key.comment(), key.line().len()), ("ann@laptop", 80));
        assert!(key.fingerprint().starts_with("SHA256:") && key.fingerprint().len() == 50);
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB x",
            "ecdsa-sha2-nistp256 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
            "command=\"id\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            &format!("{LINE}\n{LINE}"),
        ] {
            let error = bad.parse::<SshPublicKey>().unwrap_err();
            assert!(error.hint().is_some(), "{bad:?}");
        }
    }

    #[test]
    fn keys_are_of_one_user_and_go_with_them() {
        let (directory, owner) = (Directory::memory(), Principal::person("owner"));
        let key: SshPublicKey = LINE.parse().unwrap();
        let nobody = directory.add_ssh_key(&owner, "ann", &key).unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::NotFound);
        directory.add_user(&owner, "ann", Role::User, &[]).unwrap();
        directory.add_user(&owner, "bob", Role::User, &[]).unwrap();
        let (name, kept) = directory.add_ssh_key(&owner, "ann", &key).unwrap();
        assert_eq!(
            (kept.note.as_str(), kept.user.as_str()),
            ("ann@laptop", "ann")
        );
        directory.add_ssh_key(&owner, "ann", &key).unwrap();
        let taken = directory.add_ssh_key(&owner, "bob", &key).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Conflict);
        let ann = directory.ssh_caller(&name).unwrap().unwrap();
        assert_eq!((ann.user(), ann.role()), (Some("ann"), Role::User));
        directory.remove_user(&owner, "ann").unwrap();
        assert_eq!(directory.ssh_caller(&name).unwrap(), None);
        assert!(directory.ssh_keys().unwrap().is_empty());
        directory.add_ssh_key(&owner, "owner", &key).unwrap();
        let own = directory.ssh_caller(&name).unwrap().unwrap();
        assert_eq!(own.role(), Role::Admin);
        directory.remove_ssh_key(&owner, &name).unwrap();
        assert!(directory.remove_ssh_key(&owner, &name).is_err());
        let (audit, _) = directory.audit(3).unwrap();
        assert_eq!(audit[0].act, Act::SshKeyRemoved);
    }
}
