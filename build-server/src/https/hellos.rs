//! What clients offer when they come: to find out why one of them cannot be served.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use build_core::clock::{Clock, SystemClock, Timestamp};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme};

use super::sni::{HANDSHAKE, RECORD_HEAD};

/// Handshakes that are remembered.
const KEPT: usize = 100;
/// Longest text of one field of a client's first message: it is shown to others.
const MAX_TEXT: usize = 255;
/// Entries of one list of a client's first message that are kept.
const MAX_LIST: usize = 128;

/// The last handshakes of a server, the newest first. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Hellos(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    all: VecDeque<Greeting>,
    begun: u64,
}

/// One handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    number: u64,
    /// When it began.
    pub at: Timestamp,
    /// Who came.
    pub from: SocketAddr,
    /// What the client offered; `None` when its first message is not one of TLS, or not whole.
    pub offered: Option<Offered>,
    /// What came of it; `None` while it goes on, and when the client went away.
    pub outcome: Option<Result<Agreed, String>>,
}

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// The server that it wants to reach.
    pub server_name: Option<String>,
    /// Versions of TLS.
    pub versions: Vec<String>,
    /// Cipher suites, the best for the client first.
    pub cipher_suites: Vec<String>,
    /// Groups for the exchange of keys.
    pub groups: Vec<String>,
    /// Formats of points of curves.
    pub point_formats: Vec<u8>,
    /// Schemes of signatures that it can check.
    pub signature_schemes: Vec<String>,
    /// Protocols that may follow.
    pub protocols: Vec<String>,
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Version of TLS.
    pub version: String,
    /// Cipher suite.
    pub cipher_suite: String,
    /// Protocol that follows; empty when the client offered none.
    pub protocol: String,
}

impl Hellos {
    /// The handshakes, the newest first.
    #[must_use]
    pub fn all(&self) -> Vec<Greeting> {
        self.kept().all.iter().rev().cloned().collect()
    }

    /// The handshake of the connection that comes from there.
    #[must_use]
    pub fn of(&self, from: SocketAddr) -> Option<Greeting> {
        self.kept()
            .all
            .iter()
            .rev()
            .find(|greeting| greeting.from == from)
            .cloned()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handshake begins with this record; answers its number.
    pub(super) fn begin(&self, from: SocketAddr, record: &[u8]) -> u64 {
        let greeting = Greeting {
            number: 0,
            at: SystemClock.now(),
            from,
            offered: Offered::parse(record),
            outcome: None,
        };
        let mut kept = self.kept();
        kept.begun += 1;
        let number = kept.begun;
        if kept.all.len() == KEPT {
            kept.all.pop_front();
        }
        kept.all.push_back(Greeting { number, ..greeting });
        number
    }

    /// A handshake has ended.
    pub(super) fn end(&self, number: u64, outcome: Result<Agreed, String>) {
        let mut kept = self.kept();
        let mut all = kept.all.iter_mut();
        // Others may have come meanwhile, and so many that it is forgotten.
        if let Some(greeting) = all.find(|greeting| greeting.number == number) {
            greeting.outcome = Some(outcome);
        }
    }
}

impl Offered {
    /// Reads the first message of a client out of the first record of its connection.
    fn parse(record: &[u8]) -> Option<Self> {
        if *record.first()? != HANDSHAKE {
            return None;
        }
        let mut message = Bytes(record.get(RECORD_HEAD..)?);
        // Type and length of the message.
        message.take(4).filter(|head| head[0] == 1)?;
        let version = message.number()?;
        message.take(32)?; // random bytes
        message.short()?; // session
        let mut offered = Self {
            cipher_suites: names(message.long()?, |n| format!("{:?}", CipherSuite::from(n))),
            ..Self::default()
        };
        message.short()?; // compression
        let mut extensions = message.long().unwrap_or(Bytes(&[]));
        while let Some(kind) = extensions.number() {
            let mut body = extensions.long()?;
            offered.extension(kind, &mut body);
        }
        if offered.versions.is_empty() {
            offered.versions = vec![format!("{:?}", ProtocolVersion::from(version))];
        }
        Some(offered)
    }

    fn extension(&mut self, kind: u16, body: &mut Bytes<'_>) {
        match kind {
            0 => {
                let mut list = body.long().unwrap_or(Bytes(&[]));
                let name = list.take(1).and_then(|_| list.long());
                self.server_name = name.map(Bytes::text);
            }
            10 => {
                let list = body.long().unwrap_or(Bytes(&[]));
                self.groups = names(list, |n| format!("{:?}", NamedGroup::from(n)));
            }
            11 => {
                let list = body.short().unwrap_or(Bytes(&[]));
                self.point_formats = list.0.iter().copied().take(MAX_LIST).collect();
            }
            13 => {
                let list = body.long().unwrap_or(Bytes(&[]));
                self.signature_schemes = names(list, |n| format!("{:?}", SignatureScheme::from(n)));
            }
            16 => {
                let mut list = body.long().unwrap_or(Bytes(&[]));
                let all = std::iter::from_fn(|| list.short());
                self.protocols = all.take(MAX_LIST).map(Bytes::text).collect();
            }
            43 => {
                let list = body.short().unwrap_or(Bytes(&[]));
                self.versions = names(list, |n| format!("{:?}", ProtocolVersion::from(n)));
            }
            _ => {}
        }
    }
}

/// A list of numbers as names.
fn names(mut list: Bytes<'_>, name: impl Fn(u16) -> String) -> Vec<String> {
    std::iter::from_fn(|| list.number())
        .take(MAX_LIST)
        .map(name)
        .collect()
}

/// Bytes from which fields are taken one after the other.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A field after its length in one byte.
    fn short(&mut self) -> Option<Self> {
        let length = self.take(1)?[0];
        self.take(usize::from(length)).map(Self)
    }

    /// A field after its length in two bytes.
    fn long(&mut self) -> Option<Self> {
        let length = self.number()?;
        self.take(usize::from(length)).map(Self)
    }

    fn text(self) -> String {
        let text = String::from_utf8_lossy(self.0);
        text.chars().take(MAX_TEXT).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first message of a client that offers a little of everything.
    fn record() -> Vec<u8> {
        let extension = |kind: u16, body: &[u8]| {
            let mut all = kind.to_be_bytes().to_vec();
            all.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            all.extend(body);
            all
        };
        let extensions = [
            extension(0, b"\x00\x0e\x00\x00\x0blocalhost:1"),
            extension(10, &[0, 4, 0, 29, 0x7a, 0x7a]),
            extension(11, &[1, 0]),
            extension(13, &[0, 2, 4, 3]),
            extension(16, b"\x00\x0c\x02h2\x08http/1.1"),
            extension(43, &[4, 3, 4, 3, 3]),
            extension(0xfafa, b"anything"),
        ]
        .concat();
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend([0, 4, 0x13, 0x01, 0xc0, 0x2f, 1, 0]);
        hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        hello.extend(extensions);
        let length = u16::try_from(hello.len()).unwrap().to_be_bytes();
        let whole = u16::try_from(hello.len() + 4).unwrap().to_be_bytes();
        let mut record = vec![22, 3, 1, whole[0], whole[1], 1, 0, length[0], length[1]];
        record.extend(hello);
        record
    }

    #[test]
    fn what_a_client_offers_is_read() {
        let offered = Offered::parse(&record()).unwrap();
        assert_eq!(offered.server_name.as_deref(), Some("localhost:1"));
        assert_eq!(offered.versions, ["TLSv1_3", "TLSv1_2"]);
        assert_eq!(
            offered.cipher_suites,
            [
                "TLS13_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
            ]
        );
        assert_eq!(offered.groups, ["X25519", "NamedGroup(0x7a7a)"]);
        assert_eq!(offered.point_formats, [0]);
        assert_eq!(offered.signature_schemes, ["ECDSA_NISTP256_SHA256"]);
        assert_eq!(offered.protocols, ["h2", "http/1.1"]);
    }

    #[test]
    fn what_is_cut_or_wrong_does_no_harm() {
        let whole = record();
        for length in 0..whole.len() {
            // Whatever is whole of it may be shown.
            let _ = Offered::parse(&whole[..length]);
        }
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] = 0xff;
            let _ = Offered::parse(&wrong);
        }
        assert_eq!(Offered::parse(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn the_last_ones_are_kept() {
        let hellos = Hellos::default();
        let from = |port: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        let first = hellos.begin(from(1), b"x");
        for port in 2..KEPT + 2 {
            hellos.begin(from(port), &record());
        }
        hellos.end(first, Err("forgotten".to_owned()));
        hellos.end(2, Err("no suite".to_owned()));
        assert_eq!(hellos.all().len(), KEPT);
        assert_eq!(hellos.all()[0].from, from(KEPT + 1));
        assert_eq!(hellos.of(from(1)), None);
        let second = hellos.of(from(2)).unwrap();
        assert_eq!(second.outcome, Some(Err("no suite".to_owned())));
    }
}
