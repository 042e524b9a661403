//! Where requests go through: proxies, trusted roots, time-outs.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;

use crate::{Error, ErrorKind, Result};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest silence within an answer; a mirror that stalls is asked again from where it stopped.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest small file: a checksum, an index, a signature.
const SMALL: usize = 16 << 20;

/// An HTTP client for downloads: HTTP/1.1, TLS by the roots that the machine trusts.
///
/// It is cheap to clone, and keeps its connections.
#[derive(Clone, Debug)]
pub struct HttpClient(pub(super) reqwest::Client);

/// What an [`HttpClient`] is made of.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    user_agent: Option<String>,
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: String,
    roots: Vec<u8>,
    silence: Option<Duration>,
}

impl HttpOptions {
    /// With this `User-Agent`.
    #[must_use]
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// `http://` addresses through this proxy.
    #[must_use]
    pub fn http_proxy(mut self, url: impl Into<String>) -> Self {
        self.http_proxy = Some(url.into());
        self
    }

    /// `https://` addresses through this proxy.
    #[must_use]
    pub fn https_proxy(mut self, url: impl Into<String>) -> Self {
        self.https_proxy = Some(url.into());
        self
    }

    /// Hosts that are asked without a proxy, as `NO_PROXY` lists them.
    #[must_use]
    pub fn no_proxy(mut self, hosts: impl Into<String>) -> Self {
        self.no_proxy = hosts.into();
        self
    }

    /// Trusts these certificates too, in PEM.
    #[must_use]
    pub fn roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = pem.into();
        self
    }

    /// The longest silence within an answer. Default 60 s.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = Some(silence);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a proxy or a certificate cannot be read.
    pub fn build(&self) -> Result<HttpClient> {
        let mut client = reqwest::Client::builder()
            // The environment is the program's business, not the library's.
            .no_proxy()
            // Lengths and ranges are those of the file as it is stored.
            .no_gzip()
            .http1_only()
            .redirect(never_into_the_clear())
            .connect_timeout(CONNECT)
            .read_timeout(self.silence.unwrap_or(SILENCE))
            .tls_backend_preconfigured(self.tls()?);
        if let Some(name) = &self.user_agent {
            client = client.user_agent(name);
        }
        let direct = || reqwest::NoProxy::from_string(&self.no_proxy);
        if let Some(proxy) = proxy(reqwest::Proxy::http, self.http_proxy.as_deref())? {
            client = client.proxy(proxy.no_proxy(direct()));
        }
        if let Some(proxy) = proxy(reqwest::Proxy::https, self.https_proxy.as_deref())? {
            client = client.proxy(proxy.no_proxy(direct()));
        }
        let client = client.build();
        Ok(HttpClient(client.map_err(|error| {
            invalid("make an HTTP client".to_owned(), error)
        })?))
    }

    fn tls(&self) -> Result<rustls::ClientConfig> {
        let provider = Arc::new(default_provider());
        let roots = CertificateDer::pem_slice_iter(&self.roots);
        let roots = roots
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid("read the trusted certificates".to_owned(), error))?;
        let failed = |error| invalid("set up TLS".to_owned(), error);
        let verifier = match roots.is_empty() {
            true => Verifier::new(Arc::clone(&provider)),
            false => Verifier::new_with_extra_roots(roots, Arc::clone(&provider)),
        };
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let mut config = config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.map_err(failed)?))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A proxy, unless there is none.
fn proxy(
    kind: fn(String) -> reqwest::Result<reqwest::Proxy>,
    url: Option<&str>,
) -> Result<Option<reqwest::Proxy>> {
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    // As in Go, a proxy without a scheme is an HTTP one.
    let full = match url.contains("://") {
        true => url.to_owned(),
        false => format!("http://{url}"),
    };
    let made = kind(full).map_err(|error| invalid(format!("use proxy {}", shown(url)), error));
    made.map(Some)
}

/// Ten redirects at most, none from `https` to `http`.
fn never_into_the_clear() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|next| {
        let was_secret = next
            .previous()
            .last()
            .is_some_and(|url| url.scheme() == "https");
        if was_secret && next.url().scheme() != "https" {
            return next.error("redirected from https to http");
        }
        match next.previous().len() {
            0..=10 => next.follow(),
            _ => next.error("too many redirects"),
        }
    })
}

fn invalid(what: String, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::caused_by(ErrorKind::Invalid, what, error)
}

impl HttpClient {
    /// The whole of a small file (16 MiB at most): a checksum, an index, a signature. A server that
    /// cannot be reached is asked three times.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for 404 and 410, [`ErrorKind::Limit`] when it is larger,
    /// [`ErrorKind::Unavailable`] when the server cannot be reached or answers with another status.
    pub async fn small(&self, url: &str) -> Result<Vec<u8>> {
        for pause in [200, 800] {
            match self.small_once(url).await {
                Err(error) if error.kind().is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                done => return done,
            }
        }
        self.small_once(url).await
    }

    async fn small_once(&self, url: &str) -> Result<Vec<u8>> {
        let mut answer = success(url, self.0.get(url).send().await)?;
        let mut content = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| failed(url, error))? {
            content.extend_from_slice(&piece);
            if content.len() > SMALL {
                let what = format!("{} is larger than {SMALL} bytes", shown(url));
                return Err(Error::new(ErrorKind::Limit, what));
            }
        }
        Ok(content)
    }

    /// Whether there is something at an address.
    ///
    /// # Errors
    /// When the server cannot be reached, or answers neither with success nor with 404 or 410.
    pub async fn exists(&self, url: &str) -> Result<bool> {
        match success(url, self.0.head(url).send().await) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The answer when its status is one of success.
pub(super) fn success(
    url: &str,
    answer: reqwest::Result<reqwest::Response>,
) -> Result<reqwest::Response> {
    let answer = answer.map_err(|error| failed(url, error))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let kind = match status.as_u16() {
        404 | 410 => ErrorKind::NotFound,
        401 | 403 => ErrorKind::Denied,
        408 | 429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    };
    Err(Error::new(
        kind,
        format!("{} answered {status}", shown(url)),
    ))
}

/// The address without a user's name and password, for messages.
pub(crate) fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            let from = host.rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[from..])
        }
        None => url.to_owned(),
    }
}

/// An error of the connection.
pub(super) fn failed(url: &str, error: reqwest::Error) -> Error {
    let kind = match () {
        () if error.is_builder() => ErrorKind::Invalid,
        () if error.is_timeout() => ErrorKind::TimedOut,
        () => ErrorKind::Unavailable,
    };
    Error::caused_by(kind, format!("get {}", shown(url)), error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(shown("https://u:p@host/a@b"), "https://host/a@b");
        assert_eq!(shown("https://host/a"), "https://host/a");
    }

    #[test]
    fn a_proxy_that_is_none_is_told() {
        let error = HttpOptions::default()
            .http_proxy("http://")
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = HttpOptions::default()
            .roots("-----BEGIN CERTIFICATE-----\n?")
            .build();
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
