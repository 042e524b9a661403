//! Wrong keys at full speed: who shows many gets no more answers for a while.
//!
//! Each address may be wrong some times in a row, then once a second. A random token cannot be
//! guessed, so the right one is always let in, from wherever; everything else that comes from an
//! address that is throttled is not even looked at, unless it was right a short while ago: the
//! machines behind one address do not lock each other out.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::clock::Timestamp;
use lru::LruCache;

/// Wrong keys in a row.
const BURST: u32 = 20;
/// Then one in this time.
const PAUSE: Duration = Duration::from_secs(1);
/// Addresses that are remembered; of more, those that were quiet longest are forgotten.
const ADDRESSES: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");
/// Credentials that were right, as hashes.
const PROVEN: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");
/// How long being right counts.
const PROOF: Duration = Duration::from_secs(24 * 60 * 60);

/// What a credential is remembered as: tells nothing about it.
pub(super) type Fingerprint = [u8; 32];

pub(super) struct Throttle {
    /// Until when the wrong keys of an address count.
    addresses: Mutex<LruCache<IpAddr, Timestamp>>,
    proven: Mutex<LruCache<Fingerprint, Timestamp>>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            addresses: Mutex::new(LruCache::new(ADDRESSES)),
            proven: Mutex::new(LruCache::new(PROVEN)),
        }
    }
}

/// Somebody with IPv6 has a whole network of addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !0 << 64)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Throttle {
    /// How long nothing from there is looked at.
    pub(super) fn wait(&self, from: Option<IpAddr>, now: Timestamp) -> Option<Duration> {
        let mut addresses = lock(&self.addresses);
        let until = *addresses.get(&network(from?))?;
        // Each wrong key counts for a pause; a burst of them is let through.
        let debt = until.since(now);
        let free = PAUSE * BURST;
        (debt > free).then(|| debt - free)
    }

    /// Somebody was wrong.
    pub(super) fn wrong(&self, from: Option<IpAddr>, now: Timestamp) {
        let Some(from) = from else { return };
        let mut addresses = lock(&self.addresses);
        let until = addresses.get_or_insert_mut(network(from), || now);
        // However many were wrong: at most one pause after the burst.
        let most = now + PAUSE * (BURST + 1);
        *until = (now.max(*until) + PAUSE).min(most);
    }

    /// Somebody was right.
    pub(super) fn right(&self, credential: Fingerprint, now: Timestamp) {
        lock(&self.proven).put(credential, now + PROOF);
    }

    /// Whether this was right a short while ago.
    pub(super) fn is_proven(&self, credential: &Fingerprint, now: Timestamp) -> bool {
        let mut proven = lock(&self.proven);
        proven.get(credential).is_some_and(|until| *until > now)
    }

    /// Forgets that it was right.
    pub(super) fn disprove(&self, credential: &Fingerprint) {
        lock(&self.proven).pop(credential);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_a_second_and_nobody_else_suffers() {
        let (throttle, start) = (Throttle::default(), Timestamp::from_seconds(1_600_000_000));
        let bad = Some("2001:db8::1".parse().unwrap());
        let neighbour = Some("2001:db8::ffff:1".parse().unwrap());
        let other = Some("192.0.2.1".parse().unwrap());
        for _ in 0..BURST {
            assert_eq!(throttle.wait(bad, start), None);
            throttle.wrong(bad, start);
        }
        assert_eq!(throttle.wait(bad, start), None);
        for _ in 0..1_000 {
            throttle.wrong(bad, start);
        }
        assert_eq!(throttle.wait(bad, start), Some(PAUSE));
        assert_eq!(throttle.wait(neighbour, start), Some(PAUSE), "one network");
        assert_eq!(throttle.wait(other, start), None);
        assert_eq!(throttle.wait(None, start), None);
        let later = start + PAUSE;
        assert_eq!(throttle.wait(bad, later), None);
        throttle.wrong(bad, later);
        assert_eq!(throttle.wait(bad, later), Some(PAUSE));
        assert_eq!(throttle.wait(bad, start + PAUSE * 30), None);
    }

    #[test]
    fn what_was_right_is_known_for_a_while() {
        let (throttle, now) = (Throttle::default(), Timestamp::from_seconds(1_600_000_000));
        throttle.right([1; 32], now);
        assert!(throttle.is_proven(&[1; 32], now) && !throttle.is_proven(&[2; 32], now));
        assert!(!throttle.is_proven(&[1; 32], now + PROOF));
        throttle.disprove(&[1; 32]);
        assert!(!throttle.is_proven(&[1; 32], now));
    }
}
