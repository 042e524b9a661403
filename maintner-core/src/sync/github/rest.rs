//! Requests over the network. Feature `github-http`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer};
use tokio::runtime::Handle;

use super::auth::{Authorized, Credentials, Sign};
use super::{Answer, Http, Request};
use crate::sync::{Control, SyncError, pubsub};

/// How long a question may take, from the first byte sent to the last one read.
const DEADLINE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);
/// The largest answer that is read: a hundred issues of 65,536 characters, and then some.
const LARGEST: usize = 64 << 20;
const AGENT: &str = concat!("farmer-maintner/", env!("CARGO_PKG_VERSION"));

/// A client of GitHub's interface at `base` (`https://api.github.com`, or that of an Enterprise
/// server) with these credentials. It uses the tokio runtime behind `runtime`, from threads
/// outside of it.
///
/// # Errors
/// When there is no TLS, or `base` is no URL.
pub fn client(
    base: &str,
    credentials: Credentials,
    runtime: Handle,
) -> Result<impl Http + use<>, SyncError> {
    let failed = |reason: String| SyncError::Unreachable {
        request: format!("GET {base}"),
        reason,
    };
    let base = reqwest::Url::parse(base).map_err(|error| failed(error.to_string()))?;
    let http = reqwest::Client::builder()
        .user_agent(AGENT)
        .connect_timeout(CONNECT)
        .timeout(DEADLINE)
        // A redirection says that something moved, which is news.
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls().map_err(failed)?)
        .build()
        .map_err(|error| failed(text(&error)))?;
    let send = move |request: &Request, authorization: Option<&str>| {
        runtime.block_on(send(&http, &base, request, authorization))
    };
    Ok(Authorized::new(credentials, unix_now, send))
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

fn tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// An error with its causes: reqwest's own text says only what was tried.
fn text(error: &reqwest::Error) -> String {
    crate::sync::full_text(error)
}

async fn send(
    http: &reqwest::Client,
    base: &reqwest::Url,
    request: &Request,
    authorization: Option<&str>,
) -> Result<Answer, String> {
    let path = request.path.as_str();
    // What GitHub names itself is asked only of GitHub: a token goes nowhere else.
    let root = base.as_str().trim_end_matches('/');
    let url = match path {
        // An Enterprise server has its other interface beside the first one.
        "/graphql" => format!("{}{path}", root.strip_suffix("/v3").unwrap_or(root)),
        _ if path.starts_with('/') => format!("{root}{path}"),
        _ => path.to_owned(),
    };
    let url = reqwest::Url::parse(&url).map_err(|error| error.to_string())?;
    if url.origin() != base.origin() {
        return Err(format!("{url} is not on {base}"));
    }
    let mut builder = match request.method {
        "POST" => http.post(url),
        _ => http.get(url),
    };
    builder = builder
        .header("accept", "application/vnd.github+json")
        .header("x-github-api-version", "2022-11-28");
    if let Some(value) = authorization {
        builder = builder.header("authorization", value);
    }
    if let Some(etag) = &request.etag {
        builder = builder.header("if-none-match", etag);
    }
    if let Some(body) = &request.body {
        builder = builder.body(body.clone());
    }
    let mut response = builder.send().await.map_err(|error| text(&error))?;
    let status = response.status().as_u16();
    let headers = response.headers().iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let headers = headers.collect();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| text(&error))? {
        if body.len() + part.len() > LARGEST {
            return Err(format!("the answer is larger than {LARGEST} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// Asks a pubsub server (`-pubsub`) what happened, one long question after the other.
#[derive(Debug)]
pub struct Pubsub {
    base: String,
    after: String,
    runtime: Handle,
    control: Control,
}

impl Pubsub {
    /// The server at `base`. Questions end early when `control` is stopped.
    pub fn new(base: &str, runtime: Handle, control: Control) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            after: String::new(),
            runtime,
            control,
        }
    }

    /// Waits for the next event; the name of the reader that it is for. Nothing when there was
    /// none for a while, or it is about something that nobody reads.
    ///
    /// # Errors
    /// When the server cannot be asked, or answers nonsense.
    pub fn wait(&mut self) -> Result<Option<String>, SyncError> {
        let path = pubsub::path(&self.after);
        let request = format!("GET {}{path}", self.base);
        let unreachable = |reason: String| SyncError::Unreachable {
            request: request.clone(),
            reason,
        };
        let answered = self.runtime.block_on(async {
            let http = reqwest::Client::builder()
                .user_agent(AGENT)
                .connect_timeout(CONNECT)
                .timeout(pubsub::PATIENCE)
                .tls_backend_preconfigured(tls()?)
                .build()
                .map_err(|error| text(&error))?;
            let asked = async {
                let response = http.get(format!("{}{path}", self.base)).send().await?;
                let status = response.status().as_u16();
                Ok((status, response.bytes().await?))
            };
            tokio::pin!(asked);
            loop {
                tokio::select! {
                    answer = &mut asked => {
                        return answer.map(Some).map_err(|error: reqwest::Error| text(&error));
                    }
                    () = tokio::time::sleep(Duration::from_millis(200)) => {
                        if self.control.is_stopped() {
                            return Ok(None);
                        }
                    }
                }
            }
        });
        let Some((status, body)) = answered.map_err(unreachable)? else {
            return Err(SyncError::Stopped);
        };
        if status != 200 {
            return Err(unreachable(format!("status {status}")));
        }
        let event = pubsub::Event::read(&body).map_err(unreachable)?;
        self.after.clone_from(&event.time);
        Ok(event.topic())
    }
}

/// The private key of an App, as GitHub hands it out.
pub struct AppKey {
    key: RsaKeyPair,
}

impl AppKey {
    /// From the PEM file that GitHub made.
    ///
    /// # Errors
    /// When it holds no RSA key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SyncError> {
        let failed = |reason: &str| SyncError::Credentials {
            host: "api.github.com".into(),
            reason: format!("the private key of the App cannot be read: {reason}"),
        };
        let key = match PrivatePkcs1KeyDer::from_pem_slice(pem) {
            Ok(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            Err(_) => match PrivateKeyDer::from_pem_slice(pem) {
                Ok(PrivateKeyDer::Pkcs8(key)) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
                _ => return Err(failed("it is no PEM file with an RSA key")),
            },
        };
        let key = key.map_err(|error| failed(&error.to_string()))?;
        Ok(Self { key })
    }
}

impl Sign for AppKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = ring::rand::SystemRandom::new();
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
            .map_err(|error| error.to_string())?;
        Ok(signature)
    }
}
