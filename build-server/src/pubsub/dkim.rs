//! Signatures of mail, by DKIM.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use build_core::{Error, ErrorKind, Result};
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts,
};
use mail_auth::{
    AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt,
};

use super::gerrit::{MailVerifier, Signed};

/// Answers of the DNS that are remembered.
const REMEMBERED: usize = 1000;

/// Checks signatures with keys from the DNS, or with keys that are given.
pub struct DkimVerifier {
    resolver: MessageAuthenticator,
    keys: Keys,
}

/// Keys by the name under which the DNS has them.
struct Keys {
    given: HashMap<Box<str>, Txt>,
    /// Whether the DNS is not asked.
    only_given: bool,
    known: Mutex<HashMap<Box<str>, (Txt, Instant)>>,
}

impl DkimVerifier {
    /// With keys from the DNS, as this machine asks it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the machine has no DNS.
    pub fn from_dns() -> Result<Self> {
        let resolver = MessageAuthenticator::new_system_conf()
            .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "set up the DNS", e))?;
        Ok(Self::new(resolver, HashMap::new(), false))
    }

    /// With keys from the DNS, as this server tells them.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when no resolver can be set up.
    pub fn from_dns_at(server: SocketAddr) -> Result<Self> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let resolver = MessageAuthenticator::new(config, ResolverOpts::default())
            .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "set up the DNS", e))?;
        Ok(Self::new(resolver, HashMap::new(), false))
    }

    /// With these keys alone: lines of `SELECTOR._domainkey.DOMAIN RECORD`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the line that cannot be read.
    pub fn from_keys(lines: &str) -> Result<Self> {
        let mut given = HashMap::new();
        for line in lines.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || {
                Error::new(
                    ErrorKind::Invalid,
                    format!("{line:?} is no key of a domain"),
                )
            };
            let (name, record) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
            let key = DomainKey::parse(record.trim().as_bytes()).map_err(|_| wrong())?;
            let name = format!("{}.", name.trim_end_matches('.').to_ascii_lowercase());
            given.insert(name.into_boxed_str(), Txt::DomainKey(key.into()));
        }
        // It is never asked: what is not given is not there.
        let resolver = MessageAuthenticator::new_cloudflare()
            .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "set up the DNS", e))?;
        Ok(Self::new(resolver, given, true))
    }

    fn new(
        resolver: MessageAuthenticator,
        given: HashMap<Box<str>, Txt>,
        only_given: bool,
    ) -> Self {
        Self {
            resolver,
            keys: Keys {
                given,
                only_given,
                known: Mutex::default(),
            },
        }
    }
}

#[async_trait]
impl MailVerifier for DkimVerifier {
    async fn verify(&self, mail: &[u8]) -> Result<Signed> {
        let denied = |text: String| Error::new(ErrorKind::Denied, text);
        let message = AuthenticatedMessage::parse(mail)
            .ok_or_else(|| denied("the mail cannot be read".to_owned()))?;
        let asked = Parameters::new(&message).with_txt_cache(&self.keys);
        let results = self.resolver.verify_dkim(asked).await;
        let [result] = results.as_slice() else {
            let text = format!("the mail has {} signatures, not one", results.len());
            return Err(denied(text));
        };
        match (result.result(), result.signature()) {
            (DkimResult::Pass, Some(signature)) if signature.l > 0 => {
                Err(denied("only a part of the body is signed".to_owned()))
            }
            (DkimResult::Pass, Some(signature)) => Ok(Signed {
                domain: signature.d.clone(),
                headers: signature
                    .h
                    .iter()
                    .map(|h| h.trim().to_ascii_lowercase())
                    .collect(),
            }),
            (DkimResult::TempError(error), _) => {
                let text = format!("the key of the signature cannot be had now: {error}");
                Err(Error::new(ErrorKind::Unavailable, text))
            }
            (result, _) => Err(denied(format!("the signature is wrong: {result:?}"))),
        }
    }
}

impl ResolverCache<Box<str>, Txt> for Keys {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(key) = self.given.get(name) {
            return Some(key.clone());
        }
        if self.only_given {
            return Some(Txt::Error(mail_auth::Error::NoHeadersFound));
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, until) = known.get(name)?;
        (*until > Instant::now()).then(|| key.clone())
    }

    fn remove<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(name).map(|(key, _)| key)
    }

    fn insert(&self, name: Box<str>, key: Txt, until: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(name, (key, until));
    }
}
