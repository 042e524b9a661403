//! Notices of GitHub: whether they are genuine, and what they say.

use std::fmt;
use std::path::Path;

use axum::http::{HeaderMap, header};
use build_core::webhook::verify;
use build_core::{Error, ErrorKind, Result};

/// What signs notices; or nothing, when somebody has said so.
#[derive(Clone)]
pub struct Secret(Option<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A secret; white space around it is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is empty: everybody could sign.
    pub fn new(secret: &str) -> Result<Self> {
        let secret = secret.trim().as_bytes().to_vec();
        if secret.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the secret is empty"));
        }
        Ok(Self(Some(secret)))
    }

    /// The secret in a file.
    ///
    /// # Errors
    /// When it cannot be read or is empty.
    pub fn from_file(path: &Path) -> Result<Self> {
        let read = std::fs::read_to_string(path).map_err(Error::from);
        read.and_then(|text| Self::new(&text))
            .map_err(|e| e.while_doing(format!("read {}", path.display())))
    }

    /// No secret: every notice is taken for genuine. For tests behind a locked door.
    pub fn none_insecurely() -> Self {
        Self(None)
    }

    /// The payload of a genuine notice. Of two signatures the stronger one counts.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] or [`ErrorKind::Invalid`] with what is wrong with it.
    pub(super) fn payload<'a>(&self, headers: &HeaderMap, body: &'a [u8]) -> Result<Payload<'a>> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let payload = match text(header::CONTENT_TYPE.as_str()) {
            Some("application/json") => Payload::Borrowed(body),
            Some("application/x-www-form-urlencoded") => {
                let mut fields = form_urlencoded::parse(body);
                let field = fields.find(|(name, _)| name == "payload");
                let field = field.map(|(_, value)| value.into_owned().into_bytes());
                Payload::Owned(field.unwrap_or_default())
            }
            kind => {
                let text = format!(
                    "webhook request has unsupported Content-Type {:?}",
                    kind.unwrap_or("")
                );
                return Err(Error::new(ErrorKind::Invalid, text));
            }
        };
        self.check(headers, body)?;
        Ok(payload)
    }

    /// Checks the signature of a notice.
    pub(super) fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<()> {
        let Some(secret) = &self.0 else {
            return Ok(());
        };
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let Some(signature) = text("x-hub-signature-256").or_else(|| text("x-hub-signature"))
        else {
            return Err(Error::new(ErrorKind::Denied, "missing signature"));
        };
        verify(secret, body, signature).map(drop)
    }
}

/// The JSON of a notice.
pub(super) type Payload<'a> = std::borrow::Cow<'a, [u8]>;

/// What kind of notice it is.
pub(super) fn event(headers: &HeaderMap) -> &str {
    headers
        .get("x-github-event")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("")
}

/// The notice's id, when it can be a file's name.
pub(super) fn delivery(headers: &HeaderMap) -> Result<&str> {
    let id = headers
        .get("x-github-delivery")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    if id.is_empty() {
        let text = "X-GitHub-Delivery header not present";
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if id.len() > 64 || !id.bytes().all(fine) {
        let text = "X-GitHub-Delivery header is no id";
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(id)
}
