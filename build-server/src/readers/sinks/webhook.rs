//! A signed POST request, as <https://www.standardwebhooks.com> describes it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::reader::Call;
use build_core::{Error, ErrorKind, Result};
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::readers::sink::{Made, Sink, Trouble};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Posts the body of each effect to an address.
///
/// | Header | Holds |
/// |---|---|
/// | `webhook-id` | the key of the effect: the receiver that sees it again does nothing |
/// | `webhook-timestamp` | seconds since 1970 |
/// | `webhook-signature` | `v1,` and the HMAC-SHA256 in Base64 of `ID.TIMESTAMP.BODY`, with a secret |
///
/// A status of 200 to 299: made. 400, 410, 413 and 422: refused for ever. Anything else is tried
/// again, after the pause in `Retry-After` if there is one. Redirects are not followed.
pub struct WebhookSink {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    secret: Option<Vec<u8>>,
    clock: Arc<dyn Clock>,
}

impl WebhookSink {
    /// Requests to `url`, which begins with `https://` or `http://`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming what is wrong with the address.
    pub fn new(url: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(
                ErrorKind::Invalid,
                format!("bad address of a webhook: {why}"),
            )
            .with_hint("write it like \"https://example.org/hook\"")
        };
        let uri: Uri = url.parse().map_err(|_| bad("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => Some(connector()?),
            Some("http") => None,
            _ => return Err(bad("it begins neither with https:// nor with http://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it holds a name or a password; use a secret instead"));
        }
        let port = if tls.is_some() { 443 } else { 80 };
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(port),
            uri,
            tls,
            secret: None,
            clock: Arc::new(SystemClock),
        })
    }

    /// Signs requests with a secret: text that begins with `whsec_` and goes on in Base64, or
    /// any other bytes.
    #[must_use]
    pub fn signed(mut self, secret: &str) -> Self {
        let coded = secret.strip_prefix("whsec_");
        let decoded = coded.and_then(|coded| STANDARD.decode(coded).ok());
        self.secret = Some(decoded.unwrap_or_else(|| secret.as_bytes().to_vec()));
        self
    }

    /// Sets where it learns what time it is.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn request(&self, call: &Call, now: Timestamp) -> Result<Request<String>> {
        let (id, body) = (call.effect.key.as_str(), call.effect.body.get());
        let at = now.as_seconds();
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let mut request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("farmer/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", at);
        if let Some(secret) = &self.secret {
            request = request.header("webhook-signature", sign(secret, id, at, body));
        }
        request
            .body(body.to_owned())
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "make a request", e))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}

/// What a request travels on.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn connector() -> Result<TlsConnector> {
    let roots = rustls::RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::caused_by(ErrorKind::Bug, "set up TLS", e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The signature of a request.
fn sign(secret: &[u8], id: &str, at: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body.as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn judge<B>(response: &Response<B>) -> Made {
    let status = response.status();
    let text = format!("the receiver answered {status}");
    match status {
        status if status.is_success() => Made::Yes,
        StatusCode::BAD_REQUEST
        | StatusCode::GONE
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => Made::Never(text),
        _ => {
            let pause = response.headers().get(RETRY_AFTER);
            let seconds = pause.and_then(|pause| pause.to_str().ok()?.parse().ok());
            let pause = seconds.map(Duration::from_secs);
            Made::Perhaps(Trouble { text, pause })
        }
    }
}

#[async_trait]
impl Sink for WebhookSink {
    async fn make(&self, call: &Call) -> Made {
        let request = match self.request(call, self.clock.now()) {
            Ok(request) => request,
            Err(error) => return error.into(),
        };
        let away = |why: String| {
            let text = format!("cannot reach {}:{}: {why}", self.host, self.port);
            Made::No(text.into())
        };
        let stream = match tokio::time::timeout(CONNECT, self.connect()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return away(error.to_string()),
            Err(_) => return away(format!("no answer within {} s", CONNECT.as_secs())),
        };
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = match shaken {
            Ok(both) => both,
            Err(error) => return away(error.to_string()),
        };
        let mut answer = pin!(sender.send_request(request));
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            // With its end it has said all there was to say, perhaps the answer too.
            _ended = connection => answer.await,
        };
        match answer {
            Ok(response) => judge(&response),
            Err(error) => Made::Perhaps(format!("no answer from {}: {error}", self.host).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use build_core::reader::CallKind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn call() -> Call {
        Call {
            number: 1,
            kind: CallKind::Make,
            attempt: 1,
            effect: crate::readers::effect("k/1", "t", "hook", &[1, 2]).unwrap(),
        }
    }

    /// Answers one request, and gives what it was.
    async fn serve(listener: &TcpListener, answer: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"[1,2]") {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    async fn posted(sink: impl FnOnce(WebhookSink) -> WebhookSink, answer: &str) -> (Made, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
        let sink = sink(WebhookSink::new(&url).unwrap());
        let call = call();
        tokio::join!(sink.make(&call), serve(&listener, answer))
    }

    #[tokio::test]
    async fn the_request_is_signed_and_has_its_key() {
        let clock = build_core::clock::ManualClock::at(Timestamp::from_seconds(1_614_265_330));
        let signed = |sink: WebhookSink| {
            sink.signed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
                .clock(clock)
        };
        let (made, request) = posted(signed, "HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(made, Made::Yes);
        assert!(
            request.starts_with("POST /hook?a=b HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("webhook-id: k/1\r\n"), "{request}");
        assert!(
            request.contains("webhook-timestamp: 1614265330\r\n"),
            "{request}"
        );
        assert!(request.contains("webhook-signature: v1,"), "{request}");
    }

    /// The example of the specification.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = sign(&secret, id, 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[tokio::test]
    async fn statuses_say_whether_it_is_worth_another_try() {
        let status = async |answer| posted(|sink| sink, answer).await.0;
        let gone = status("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(gone, Made::Never(_)), "{gone:?}");
        let busy = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
        match status(busy).await {
            Made::Perhaps(trouble) => assert_eq!(trouble.pause, Some(Duration::from_secs(7))),
            other => panic!("{other:?}"),
        }
        assert!(matches!(status("").await, Made::Perhaps(_)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        assert!(matches!(
            WebhookSink::new(&url).unwrap().make(&call()).await,
            Made::No(_)
        ));
    }

    #[test]
    fn bad_addresses_are_refused_with_a_hint() {
        for bad in [
            "",
            "example.org",
            "ftp://example.org",
            "https://me:pw@example.org/",
            "https:///x",
        ] {
            let Err(error) = WebhookSink::new(bad) else {
                panic!("{bad} was taken")
            };
            assert!(error.hint().is_some(), "{bad}");
        }
        assert!(WebhookSink::new("https://[::1]:8443/x").is_ok());
    }
}
