//! Clients that name the server with its port.
//!
//! Go buildlets send `localhost:8119` as server name (docs/protocol/buildlet.md, 1.1). That is no
//! name, and rustls ends the handshake. So such a name is hidden from it: the type of the
//! extension is changed in the first message that it reads to one that nobody knows. Both sides
//! sign what was said, so the hashes over the messages see the type that was sent.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider};
use rustls::{SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};
use rustls_pki_types::ServerName;

/// The extension of the server's name.
const SERVER_NAME: [u8; 2] = [0, 0];
/// For private use. A client that sends it fails in its own handshake, and harms nobody.
const HIDDEN: [u8; 2] = [0xff, 0xa5];
pub(super) const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Head of a record.
pub(super) const RECORD_HEAD: usize = 5;

/// Hides a server name that is none, in the first record of a connection. True when it did.
pub(super) fn hide(record: &mut [u8]) -> bool {
    if record.first() != Some(&HANDSHAKE) {
        return false;
    }
    let Some(message) = record.get_mut(RECORD_HEAD..) else {
        return false;
    };
    let Some(at) = find(message, SERVER_NAME) else {
        return false;
    };
    if is_name(&message[at..]) {
        return false;
    }
    message[at..at + 2].copy_from_slice(&HIDDEN);
    true
}

/// The provider of all our servers: it knows the messages as they were sent.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = rustls::crypto::ring::default_provider();
        for suite in &mut provider.cipher_suites {
            *suite = restoring(*suite);
        }
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

/// Where an extension of a client's first message begins.
fn find(message: &[u8], kind: [u8; 2]) -> Option<usize> {
    // Type and length of the message, version, random bytes.
    let mut at = 4 + 2 + 32;
    if message.first() != Some(&CLIENT_HELLO) {
        return None;
    }
    at += 1 + usize::from(*message.get(at)?); // session
    at += 2 + length(message, at)?; // cipher suites
    at += 1 + usize::from(*message.get(at)?); // compression
    at += 2; // length of all extensions
    loop {
        let found = message.get(at..at + 2)?;
        if found == kind {
            return Some(at);
        }
        at += 4 + length(message, at + 2)?;
    }
}

fn length(message: &[u8], at: usize) -> Option<usize> {
    let bytes = message.get(at..at + 2)?;
    Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}

/// Whether a server name extension holds something that is a name or an address; also when it is
/// broken otherwise, which is for TLS to judge.
fn is_name(extension: &[u8]) -> bool {
    // Type, length, length of the list, kind of the name, its length.
    let Some(length) = length(extension, 7) else {
        return true;
    };
    let Some(name) = extension.get(9..9 + length) else {
        return true;
    };
    std::str::from_utf8(name).is_ok_and(|name| ServerName::try_from(name).is_ok())
}

/// The message as it was sent.
fn restore(message: &[u8]) -> Cow<'_, [u8]> {
    match find(message, HIDDEN) {
        Some(at) => {
            let mut sent = message.to_vec();
            sent[at..at + 2].copy_from_slice(&SERVER_NAME);
            Cow::Owned(sent)
        }
        None => Cow::Borrowed(message),
    }
}

/// The same suite with other hashes. Made once for each, so it is never given back.
fn restoring(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let with = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: Box::leak(Box::new(Restoring(common.hash_provider))),
        confidentiality_limit: common.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: with(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: suite.aead_alg,
                quic: suite.quic,
            })))
        }
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: with(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
            })))
        }
    }
}

struct Restoring(&'static dyn Hash);

impl Hash for Restoring {
    fn start(&self) -> Box<dyn Context> {
        Box::new(RestoringContext(self.0.start()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(&restore(data))
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct RestoringContext(Box<dyn Context>);

impl Context for RestoringContext {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.fork()))
    }

    fn finish(self: Box<Self>) -> Output {
        self.0.finish()
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(&restore(data));
    }
}
