//! Addresses at which code hosts publish the ssh keys of a user: `https://HOST/USER.keys`.

use build_core::clock::Timestamp;
use build_core::event::Principal;
use build_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::Directory;
use super::audit::Act;
use super::change::{Note, invalid, no_user};
use super::directory::OWNER;

/// Addresses that are kept of one user, and of all.
const MAX_OF_USER: usize = 4;
const MAX_SOURCES: usize = 10_000;
/// Longest address.
const MAX_ADDRESS: usize = 1024;

/// An address with ssh keys of a user, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SshSource {
    /// The user.
    pub user: String,
    /// When it was added.
    pub added: Timestamp,
    /// Who added it.
    pub added_by: Principal,
}

/// What an address must be: its host vouches for who somebody is, so nobody may answer for it.
fn check(address: &str) -> Result<()> {
    let hint = "give an address such as https://github.com/ann.keys";
    let loopback = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
    let is_private = address.starts_with("https://")
        || loopback.iter().any(|prefix| address.starts_with(prefix));
    if !is_private {
        return Err(invalid(
            "keys are taken from addresses with https:// alone",
            hint,
        ));
    }
    let plain = address.len() <= MAX_ADDRESS && address.bytes().all(|b| b.is_ascii_graphic());
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !plain || host.is_empty() || host.contains('@') || path.is_empty() || path.contains('#') {
        return Err(invalid("this is not the address of a file with keys", hint));
    }
    Ok(())
}

impl Directory {
    /// Lets whoever holds one of the keys that a code host publishes at this address be that user,
    /// over ssh. The host is trusted to say who they are. Adding it again changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a user that is not known, [`ErrorKind::Invalid`] for an address
    /// that is none or without TLS, [`ErrorKind::Conflict`] when it is somebody else's,
    /// [`ErrorKind::Limit`] when there are too many; when it cannot be written.
    pub fn add_ssh_source(&self, by: &Principal, user: &str, address: &str) -> Result<SshSource> {
        check(address)?;
        self.change(by, |book, now| {
            if user != OWNER && !book.users.contains_key(user) {
                return Err(no_user(user));
            }
            let known = book.ssh_sources.get(address);
            if let Some(known) = known.filter(|source| source.user != user) {
                let text = format!("the keys at {address} are those of {:?}", known.user);
                return Err(Error::new(ErrorKind::Conflict, text)
                    .with_hint("remove them there first: farmer key ssh remove ADDRESS"));
            }
            let own = book
                .ssh_sources
                .values()
                .filter(|source| source.user == user);
            let is_full = own.count() >= MAX_OF_USER || book.ssh_sources.len() >= MAX_SOURCES;
            if known.is_none() && is_full {
                let text = format!("a user has at most {MAX_OF_USER} addresses with keys");
                return Err(Error::new(ErrorKind::Limit, text).with_hint("remove one"));
            }
            let entry = book.ssh_sources.entry(address.to_owned());
            let entry = entry.or_insert_with(|| SshSource {
                user: user.to_owned(),
                added: now,
                added_by: by.clone(),
            });
            let object = format!("ssh keys at {address} of person:{user}");
            Ok((entry.clone(), Note::new(Act::SshKeyAdded, object, "")))
        })
    }

    /// Takes the keys at an address away; connections that they have opened go on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; when it cannot be written.
    pub fn remove_ssh_source(&self, by: &Principal, address: &str) -> Result<SshSource> {
        self.change(by, |book, _| {
            let removed = book.ssh_sources.remove(address).ok_or_else(|| {
                let text = format!("no keys are taken from {address:?}");
                Error::new(ErrorKind::NotFound, text).with_hint("list them: farmer key ssh list")
            })?;
            let object = format!("ssh keys at {address} of person:{}", removed.user);
            Ok((removed, Note::new(Act::SshKeyRemoved, object, "")))
        })
    }

    /// Every address with keys for ssh.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn ssh_sources(&self) -> Result<Vec<(String, SshSource)>> {
        let book = self.book()?;
        let pair = |(address, source): (&String, &SshSource)| (address.clone(), source.clone());
        Ok(book.book.ssh_sources.iter().map(pair).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    #[test]
    fn addresses_are_private_and_of_one_user() {
        for fine in [
            "https://github.com/ann.keys",
            "https://git.example.org:8443/ann.keys",
            "http://127.0.0.1:1/x",
        ] {
            check(fine).unwrap();
        }
        for bad in [
            "",
            "github.com/ann.keys",
            "http://github.com/ann.keys",
            "https://",
            "https:///x",
            "https://github.com",
            "https://github.com/",
            "https://a@b/x",
            "https://a/x#y",
            "https://a/x y",
            "file:///etc/passwd",
            "http://127.0.0.1.evil.org/x",
        ] {
            assert_eq!(check(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
        let (directory, owner) = (Directory::memory(), Principal::person("owner"));
        let add = |user: &str, address: &str| directory.add_ssh_source(&owner, user, address);
        let address = "https://github.com/ann.keys";
        assert_eq!(add("ann", address).unwrap_err().kind(), ErrorKind::NotFound);
        directory.add_user(&owner, "ann", Role::User, &[]).unwrap();
        add("ann", address).unwrap();
        add("ann", address).unwrap();
        assert_eq!(
            add("owner", address).unwrap_err().kind(),
            ErrorKind::Conflict
        );
        for n in 1..4 {
            add("ann", &format!("https://host{n}/ann.keys")).unwrap();
        }
        let more = add("ann", "https://host4/ann.keys").unwrap_err();
        assert_eq!(more.kind(), ErrorKind::Limit);
        add("ann", address).unwrap();
        directory.remove_ssh_source(&owner, address).unwrap();
        assert!(directory.remove_ssh_source(&owner, address).is_err());
        assert_eq!(directory.ssh_sources().unwrap().len(), 3);
        directory.remove_user(&owner, "ann").unwrap();
        assert!(directory.ssh_sources().unwrap().is_empty());
    }
}
