use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The protocol by which an authority asks within a handshake.
pub(crate) const CHALLENGE: &[u8] = b"acme-tls/1";

/// What is served at present, to clients and to the authority. Clones are the same.
#[derive(Clone)]
pub(crate) struct AcmeResolver(Arc<RwLock<State>>);

struct State {
    names: Vec<String>,
    certificate: Option<(Arc<CertifiedKey>, SystemTime)>,
    challenges: HashMap<String, Arc<CertifiedKey>>,
}

impl fmt::Debug for AcmeResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcmeResolver({:?})", self.state().names)
    }
}

impl AcmeResolver {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self(Arc::new(RwLock::new(State {
            names,
            certificate: None,
            challenges: HashMap::new(),
        })))
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a certificate that is good from one time to the other.
    pub(super) fn serve(&self, certificate: CertifiedKey, life: (SystemTime, SystemTime)) {
        let (from, to) = life;
        let whole = to.duration_since(from).unwrap_or_default();
        // The last third is for renewing.
        let renew = from + whole * 2 / 3;
        self.change().certificate = Some((Arc::new(certificate), renew));
    }

    /// How long the certificate is good until it is to be renewed; `None`: now.
    pub(super) fn left(&self, now: SystemTime) -> Option<Duration> {
        let renew = self.state().certificate.as_ref()?.1;
        renew
            .duration_since(now)
            .ok()
            .filter(|left| !left.is_zero())
    }

    pub(super) fn show(&self, name: String, certificate: CertifiedKey) {
        self.change().challenges.insert(name, Arc::new(certificate));
    }

    pub(super) fn clear_challenges(&self) {
        self.change().challenges.clear();
    }
}

impl ResolvesServerCert for AcmeResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let state = self.state();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let offered = hello.alpn();
        let asks = offered.is_some_and(|mut offered| offered.any(|name| name == CHALLENGE));
        if asks {
            return state.challenges.get(&name?).cloned();
        }
        // Those who name nobody get what there is; those who name somebody else do not.
        let is_own = name.is_none_or(|name| state.names.contains(&name));
        let (certificate, _) = state.certificate.as_ref().filter(|_| is_own)?;
        Some(certificate.clone())
    }
}
