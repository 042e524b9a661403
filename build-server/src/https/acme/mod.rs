//! Certificates from an authority that speaks ACME, such as Let's Encrypt.
//!
//! [`Acme`] obtains a certificate for its names, keeps it in a [`CertificateCache`], and renews it
//! when two thirds of its life are over. The authority connects to port 443 of each name and is
//! answered within the handshake (TLS-ALPN-01), so nothing else is to be opened.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use build_server::https::Tls;
//! use build_server::https::acme::{Acme, FolderCache};
//! use tokio_util::sync::CancellationToken;
//!
//! let acme = Acme::new(["farm.example.org"], FolderCache::open("/var/lib/farmer/acme")?)?;
//! let tls = Tls::with_acme(&acme);
//! let stop = CancellationToken::new();
//! acme.run(stop).await; // while `tls` serves port 443
//! # let _ = tls;
//! # Ok(()) }
//! ```

mod autocert;
mod cache;
#[cfg(feature = "acme-objects")]
mod objects;
mod order;
mod resolver;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use autocert::Autocert;
pub use cache::{CertificateCache, FolderCache, MemoryCache};
#[cfg(feature = "acme-objects")]
pub use objects::ObjectCache;
pub(super) use resolver::{AcmeResolver, CHALLENGE};

use super::Error;

/// The authority that is asked when nobody says.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// After the first failure; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Between two failures at most: authorities count orders by the hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// How long an order may take.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long the longest sleep is: clocks are set, machines sleep.
const LOOK: Duration = Duration::from_secs(12 * 60 * 60);
/// Names of one certificate at most, as authorities bear them.
const MAX_NAMES: usize = 100;

/// Obtains and renews one certificate. Clones are the same one.
#[derive(Clone)]
pub struct Acme(Arc<Inner>);

struct Inner {
    names: Vec<String>,
    directory: String,
    contact: Vec<String>,
    root_file: Option<PathBuf>,
    cache: Box<dyn CertificateCache>,
    resolver: AcmeResolver,
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme")
            .field("names", &self.0.names)
            .field("directory", &self.0.directory)
            .finish_non_exhaustive()
    }
}

impl Acme {
    /// A certificate for these names, from Let's Encrypt. Whoever uses it agrees to the terms of
    /// the authority.
    ///
    /// # Errors
    /// When there is no name, or one that no authority vouches for.
    pub fn new(
        names: impl IntoIterator<Item = impl AsRef<str>>,
        cache: impl CertificateCache + 'static,
    ) -> Result<Self, Error> {
        let names = names
            .into_iter()
            .map(|name| name.as_ref().to_ascii_lowercase());
        let names: Vec<String> = names.collect();
        if names.is_empty() || names.len() > MAX_NAMES {
            return Err(Error::Name(String::new()));
        }
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(Error::Name(bad.clone()));
        }
        Ok(Self(Arc::new(Inner {
            resolver: AcmeResolver::new(names.clone()),
            names,
            directory: LETS_ENCRYPT.to_owned(),
            contact: Vec::new(),
            root_file: None,
            cache: Box::new(cache),
        })))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = self.0;
        // It is not shared before it runs.
        if let Some(inner) = Arc::get_mut(&mut inner) {
            change(inner);
        }
        Self(inner)
    }

    /// From another authority: the address of its directory.
    #[must_use]
    pub fn directory(self, url: impl Into<String>) -> Self {
        self.with(|inner| inner.directory = url.into())
    }

    /// Whom the authority writes to when something is wrong: `mailto:ann@example.org`.
    #[must_use]
    pub fn contact(self, contact: impl Into<String>) -> Self {
        self.with(|inner| inner.contact.push(contact.into()))
    }

    /// A file with the certificate by which the authority itself is known, when the machine does
    /// not trust it already.
    #[must_use]
    pub fn root_file(self, file: impl Into<PathBuf>) -> Self {
        self.with(|inner| inner.root_file = Some(file.into()))
    }

    pub(super) fn resolver(&self) -> AcmeResolver {
        self.0.resolver.clone()
    }

    /// Sees to it that there is a certificate and that it is good for a while: from the cache, else
    /// from the authority, which must reach this server meanwhile. Answers for how long it is good
    /// until it is to be renewed.
    ///
    /// # Errors
    /// What the cache or the authority said. A certificate that is there stays.
    ///
    /// # Cancel safety
    /// An order that was begun is lost; the certificate that is there stays.
    pub async fn step(&self) -> Result<Duration, Error> {
        if let Some(left) = self.0.resolver.left(SystemTime::now()) {
            return Ok(left);
        }
        if let Some(left) = self.load().await? {
            return Ok(left);
        }
        let ordered = tokio::time::timeout(PATIENCE, self.0.order()).await;
        self.0.resolver.clear_challenges();
        let pem =
            ordered.map_err(|_| Error::Acme("the authority has not answered in time".into()))??;
        self.0.take(&pem)?;
        // What is served and not kept is ordered again by the next process: not for nothing.
        self.0
            .cache
            .put(self.0.cache_key(), pem.into_bytes())
            .await?;
        Ok(self.0.resolver.left(SystemTime::now()).unwrap_or_default())
    }

    async fn load(&self) -> Result<Option<Duration>, Error> {
        let Some(bytes) = self.0.cache.get(self.0.cache_key()).await? else {
            return Ok(None);
        };
        let taken = String::from_utf8(bytes).ok().map(|pem| self.0.take(&pem));
        match taken {
            Some(Ok(())) => Ok(self.0.resolver.left(SystemTime::now())),
            // A damaged one, or one for other names: another is ordered in its place.
            _ => {
                tracing::warn!("the certificate in the cache is of no use; another one is ordered");
                Ok(None)
            }
        }
    }

    /// Keeps the certificate good until `stop` is canceled. Failures are logged, and tried again
    /// with growing pauses; the certificate that is there is served meanwhile.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(step) = stop.run_until_cancelled(self.step()).await else {
                return;
            };
            let wait = match step {
                Ok(left) => {
                    pause = FIRST_PAUSE;
                    left.clamp(FIRST_PAUSE, LOOK)
                }
                Err(error) => {
                    let error = super::describe(&error);
                    tracing::error!(error, names = ?self.0.names, "no certificate; tried again");
                    let now = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    now
                }
            };
            if stop
                .run_until_cancelled(tokio::time::sleep(wait))
                .await
                .is_none()
            {
                return;
            }
        }
    }
}

impl Inner {
    /// The name in the cache: that of the first name, as Go's autocert has it.
    fn cache_key(&self) -> &str {
        &self.names[0]
    }

    /// Serves a certificate: its key, then its chain.
    fn take(&self, pem: &str) -> Result<(), Error> {
        let certified = super::certified(pem, pem)?;
        let life = life(&certified, &self.names)?;
        self.resolver.serve(certified, life);
        Ok(())
    }
}

/// From when to when a certificate is good; it must be for all of `names`.
fn life(certified: &CertifiedKey, names: &[String]) -> Result<(SystemTime, SystemTime), Error> {
    let leaf = certified.cert.first().ok_or(Error::NoCertificate)?;
    let bad = |text: &str| Error::Acme(format!("the certificate {text}"));
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| bad("cannot be read"))?;
    let known = parsed.subject_alternative_name().ok().flatten();
    let known: Vec<&str> = known.map_or_else(Vec::new, |found| {
        let names = found.value.general_names.iter();
        names
            .filter_map(|name| match name {
                x509_parser::prelude::GeneralName::DNSName(name) => Some(*name),
                _ => None,
            })
            .collect()
    });
    if let Some(missing) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(bad(&format!("is not for {missing}")));
    }
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = parsed.validity();
    Ok((
        time(validity.not_before.timestamp()),
        time(validity.not_after.timestamp()),
    ))
}

/// Whether an authority may vouch for it: a name with a dot, no address, no pattern.
fn is_name(name: &str) -> bool {
    let labels = || name.split('.');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let ends_in_letters = labels()
        .next_back()
        .is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && labels().count() >= 2 && labels().all(is_label) && ends_in_letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_authorities_vouch_for() {
        for good in ["farm.example.org", "a.b", "xn--bcher-kva.example"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "127.0.0.1",
            "*.example.org",
            "a..b",
            "-a.b",
            "a.b/../c",
            "a b.c",
        ] {
            assert!(!is_name(bad), "{bad}");
            assert!(Acme::new([bad], MemoryCache::default()).is_err(), "{bad}");
        }
        assert!(Acme::new(Vec::<String>::new(), MemoryCache::default()).is_err());
    }
}
