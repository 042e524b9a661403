//! Who has signed in with a browser.
//!
//! A browser shows its cookies to every port of a host, so a cookie never holds a token: it
//! holds the random id of a sign-in, of which only the hash is known here. A sign-in ends after
//! a while, at sign-out, and with the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use super::User;

/// How long a sign-in is good for.
pub(crate) const SIGNED_IN: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Sign-ins that are remembered; beyond it the one that ends first is forgotten.
const MOST: usize = 1024;

/// Finding an entry by a hash tells a guesser nothing about the id it is made of.
type Hash = [u8; 32];

/// The sign-ins of one site.
#[derive(Default)]
pub(super) struct SignIns(Mutex<HashMap<Hash, SignIn>>);

struct SignIn {
    user: User,
    ends: Timestamp,
}

impl SignIns {
    fn all(&self) -> MutexGuard<'_, HashMap<Hash, SignIn>> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a sign-in of somebody who has shown a token; answers its id, for the cookie.
    pub(super) fn begin(&self, user: User, now: Timestamp) -> Result<String> {
        let mut id = [0; 32];
        let drawn = getrandom::fill(&mut id);
        drawn.map_err(|e| Error::caused_by(ErrorKind::Bug, "draw the id of a sign-in", e))?;
        let id = hex::encode(id);
        let mut all = self.all();
        all.retain(|_, known| known.ends > now);
        if all.len() >= MOST {
            let first = all.iter().min_by_key(|(_, known)| known.ends);
            if let Some(hash) = first.map(|(hash, _)| *hash) {
                all.remove(&hash);
            }
        }
        let ends = now + SIGNED_IN;
        all.insert(hash(&id), SignIn { user, ends });
        Ok(id)
    }

    /// Who has signed in under this id.
    pub(super) fn find(&self, id: &str, now: Timestamp) -> Option<User> {
        let all = self.all();
        let known = all.get(&hash(id)).filter(|known| known.ends > now)?;
        Some(known.user.clone())
    }

    /// Ends a sign-in, if there is one under this id.
    pub(super) fn end(&self, id: &str) {
        self.all().remove(&hash(id));
    }
}

fn hash(id: &str) -> Hash {
    Sha256::digest(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Role;

    #[test]
    fn a_sign_in_ends_with_its_time_or_before() {
        let (signed_in, now) = (SignIns::default(), Timestamp::from_seconds(1_600_000_000));
        let owner = || User::new("owner", Role::Admin);
        let first = signed_in.begin(owner(), now).unwrap();
        let second = signed_in.begin(owner(), now).unwrap();
        assert_ne!(first, second);
        assert_eq!(signed_in.find(&first, now), Some(owner()));
        for wrong in ["", "x", &first[1..], &first.to_uppercase()] {
            assert_eq!(signed_in.find(wrong, now), None, "{wrong:?}");
        }
        signed_in.end(&first);
        assert_eq!(signed_in.find(&first, now), None);
        assert_eq!(signed_in.find(&second, now + SIGNED_IN), None);
    }

    #[test]
    fn no_number_of_sign_ins_fills_the_memory() {
        let (signed_in, now) = (SignIns::default(), Timestamp::from_seconds(1_600_000_000));
        let visitor = || User::new("somebody", Role::User);
        let ids: Vec<_> = (0..MOST + 5)
            .map(|n| now + Duration::from_secs(n as u64))
            .map(|at| signed_in.begin(visitor(), at).unwrap())
            .collect();
        assert_eq!(signed_in.all().len(), MOST);
        assert_eq!(signed_in.find(&ids[0], now), None, "the oldest has gone");
        assert!(signed_in.find(&ids[MOST], now).is_some());
    }
}
