//! Nobody far away takes everything: each address has its share, and some places are kept for
//! programs of this machine.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Peer;

/// One of so many places is kept for programs of this machine.
const KEPT: usize = 16;

/// Of `places`, those that only programs of this machine get.
pub(super) fn kept_of(places: usize) -> usize {
    places / KEPT
}

/// How many of something each address has. Clones count the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Shares,
    whose: Option<IpAddr>,
}

/// Somebody with IPv6 has a whole network of addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !0 << 64)),
    }
}

impl Shares {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more for `peer`, unless its address has `most` already. Programs of this machine are
    /// not counted.
    pub(super) fn take(&self, peer: Peer, most: usize) -> Option<Share> {
        let of = self.clone();
        if peer.local {
            return Some(Share { of, whose: None });
        }
        let address = network(peer.address.ip());
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= most {
            if most == 0 {
                counts.remove(&address);
            }
            return None;
        }
        *count += 1;
        let whose = Some(address);
        Some(Share { of, whose })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(address) = self.whose else { return };
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, local: bool) -> Peer {
        Peer {
            address: (address.parse::<IpAddr>().unwrap(), 1).into(),
            encrypted: false,
            local,
        }
    }

    #[test]
    fn each_network_has_its_share_and_this_machine_is_not_counted() {
        let shares = Shares::default();
        let (one, neighbour) = (peer("2001:db8::1", false), peer("2001:db8::ffff:1", false));
        let (other, here) = (peer("192.0.2.1", false), peer("127.0.0.1", true));
        let first = shares.take(one, 2).unwrap();
        let second = shares.take(neighbour, 2).unwrap();
        assert!(shares.take(one, 2).is_none() && shares.take(neighbour, 2).is_none());
        let _other = shares.take(other, 2).unwrap();
        let _mapped = shares.take(peer("::ffff:192.0.2.1", false), 2).unwrap();
        assert!(shares.take(other, 2).is_none());
        let here: Vec<_> = (0..9).map(|_| shares.take(here, 2).unwrap()).collect();
        drop((first, here));
        let third = shares.take(one, 2).unwrap();
        drop((second, third));
        assert!(shares.take(one, 0).is_none());
        assert_eq!(shares.counts().len(), 1, "nobody is remembered for nothing");
    }
}
