use super::headers::{is_token, write_field};
use super::scan::BlockScan;
use super::{Error, Headers, Limits};

/// Most fields parsed without an allocation for the parser's own table.
const STACK_FIELDS: usize = 32;

/// The version digits of a start line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    major: u8,
    minor: u8,
}

impl Version {
    /// `HTTP/0.0`: how Go dialers spell the version of their 101 answers.
    pub const HTTP_00: Self = Self { major: 0, minor: 0 };
    /// `HTTP/1.0`: no chunked bodies, no trailers, one request per connection.
    pub const HTTP_10: Self = Self { major: 1, minor: 0 };
    /// `HTTP/1.1`.
    pub const HTTP_11: Self = Self { major: 1, minor: 1 };

    /// The digits before and after the point.
    #[must_use]
    pub fn digits(self) -> (u8, u8) {
        (self.major, self.minor)
    }
}

/// Request line and header fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    method: String,
    target: String,
    version: Version,
    headers: Headers,
}

impl RequestHead {
    /// An HTTP/1.1 request without fields.
    ///
    /// `target` goes on the wire as it is: origin form, already escaped, such as
    /// `/ls?dir=go`. An empty `Host:` line is written when no `Host` field is added.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: Version::HTTP_11,
            headers: Headers::new(),
        }
    }

    /// Appends a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The same request for another target.
    #[must_use]
    pub fn with_target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// Parses a whole head, from the first byte of the request line to the empty line.
    ///
    /// # Errors
    /// A malformed request line or field, an unsupported version, more than `max_fields`.
    pub fn parse(block: &[u8], max_fields: usize) -> Result<Self, Error> {
        with_field_table(block, max_fields, |table| {
            let mut request = httparse::Request::new(table);
            if request.parse(block)?.is_partial() {
                return Err(Error::MalformedHead {
                    reason: "request line",
                });
            }
            let target = request.path.unwrap_or_default();
            if !target.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(Error::MalformedHead {
                    reason: "request target",
                });
            }
            Ok(Self {
                method: request.method.unwrap_or_default().to_owned(),
                target: target.to_owned(),
                version: Version {
                    major: 1,
                    minor: request.version.unwrap_or_default(),
                },
                headers: collect(block.len(), request.headers),
            })
        })
    }

    /// Reads the head at the front of `received` without taking it, to decide who serves
    /// the connection; `None` when its end has not arrived.
    ///
    /// # Errors
    /// As [`RequestHead::parse`]; also heads beyond the limits.
    pub fn peek(received: &[u8], limits: &Limits) -> Result<Option<Self>, Error> {
        let limit = limits.head_bytes;
        let end = BlockScan::default().find_end(received, limit, Error::HeadTooLarge { limit })?;
        end.map(|end| Self::parse(&received[..end], limits.fields))
            .transpose()
    }

    /// The method, as sent.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The request target, as sent.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The target up to the first `?`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&*self.target, |(path, _)| path)
    }

    /// The target after the first `?`; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The version of the request line.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The fields, to change.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Whether the sender waits for `100 Continue` before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.version == Version::HTTP_11 && self.headers.lists("Expect", "100-continue")
    }

    /// Appends request line and fields to `out`, without the final empty line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let target_ok =
            !self.target.is_empty() && self.target.bytes().all(|b| b.is_ascii_graphic());
        if !is_token(self.method.as_bytes()) || !target_ok {
            return Err(Error::UnwritableStartLine);
        }
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if !self.headers.contains("Host") {
            write_field("Host", b"", out);
        }
        self.headers.write(out)
    }
}

/// Status line and header fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    version: Version,
    status: u16,
    reason: String,
    headers: Headers,
}

impl ResponseHead {
    /// An HTTP/1.1 response without fields, with the usual reason for its status.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            version: Version::HTTP_11,
            status,
            reason: reason_of(status).to_owned(),
            headers: Headers::new(),
        }
    }

    /// The refusal format of the buildlet protocol: plain text that is not to be sniffed.
    /// Its body is the message and a line feed.
    #[must_use]
    pub fn refusal(status: u16) -> Self {
        Self::new(status)
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("X-Content-Type-Options", "nosniff")
    }

    /// Appends a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Parses a whole head, from the first byte of the status line to the empty line.
    ///
    /// Any version digits are taken for a 101, since Go dialers answer
    /// `HTTP/0.0 101 Switching Protocols`; every other status needs HTTP/1.
    ///
    /// # Errors
    /// A malformed status line or field, an unsupported version, more than `max_fields`.
    pub fn parse(block: &[u8], max_fields: usize) -> Result<Self, Error> {
        const BAD: Error = Error::MalformedHead {
            reason: "status line",
        };
        let line_end = block
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or(BAD)?;
        let (version, status, reason) = parse_status_line(&block[..line_end]).ok_or(BAD)?;
        if version.major != 1 && status != 101 {
            return Err(Error::UnsupportedVersion);
        }
        let headers = parse_fields(&block[line_end + 2..], max_fields)?;
        Ok(Self {
            version,
            status,
            reason,
            headers,
        })
    }

    /// The version of the status line.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The status, 100 to 999.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The text after the status; may be empty.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Status and reason as the Go client shows them: `404 Not Found`.
    #[must_use]
    pub fn status_text(&self) -> String {
        format!("{} {}", self.status, self.reason)
    }

    /// The fields.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The fields, to change.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Whether another head follows: 1xx, except the 101 that ends HTTP on the connection.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Appends status line and fields to `out`, without the final empty line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let reason_ok = self
            .reason
            .bytes()
            .all(|b| b == b' ' || b.is_ascii_graphic());
        if !(100..=999).contains(&self.status) || !reason_ok {
            return Err(Error::UnwritableStartLine);
        }
        out.extend_from_slice(format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).as_bytes());
        self.headers.write(out)
    }
}

/// Parses trailer or header lines that end with an empty line.
pub(crate) fn parse_fields(block: &[u8], max_fields: usize) -> Result<Headers, Error> {
    with_field_table(block, max_fields, |table| {
        match httparse::parse_headers(block, table)? {
            httparse::Status::Complete((_, fields)) => Ok(collect(block.len(), fields)),
            httparse::Status::Partial => Err(Error::MalformedHead {
                reason: "missing empty line",
            }),
        }
    })
}

/// Runs a parser with a table of the size it needs; most heads fit the one on the stack.
fn with_field_table<'b, T>(
    block: &'b [u8],
    max_fields: usize,
    parse: impl FnOnce(&mut [httparse::Header<'b>]) -> Result<T, Error>,
) -> Result<T, Error> {
    // At most one field per line feed, less the start line and the empty line.
    let lines = block.iter().filter(|&&b| b == b'\n').count();
    if lines.saturating_sub(2) > max_fields {
        return Err(Error::TooManyFields { limit: max_fields });
    }
    if lines <= STACK_FIELDS {
        parse(&mut [httparse::EMPTY_HEADER; STACK_FIELDS])
    } else {
        parse(&mut vec![httparse::EMPTY_HEADER; lines])
    }
}

fn collect(bytes: usize, fields: &[httparse::Header<'_>]) -> Headers {
    let mut headers = Headers::with_capacity(bytes, fields.len());
    for field in fields {
        headers.append(field.name, field.value.trim_ascii());
    }
    headers
}

/// `HTTP/D.D DDD reason`; the blank and the reason may be missing.
fn parse_status_line(line: &[u8]) -> Option<(Version, u16, String)> {
    let rest = line.strip_prefix(b"HTTP/")?;
    let [major, b'.', minor, b' ', rest @ ..] = rest else {
        return None;
    };
    let (digits, reason) = rest.split_at_checked(3)?;
    let status = digits
        .iter()
        .try_fold(0, |n, &b| Some(n * 10 + u16::from(digit(b)?)))?;
    let reason = match reason {
        [] => "",
        [b' ', text @ ..] => std::str::from_utf8(text).ok()?,
        _ => return None,
    };
    if status < 100 || reason.chars().any(char::is_control) {
        return None;
    }
    let version = Version {
        major: digit(*major)?,
        minor: digit(*minor)?,
    };
    Some((version, status, reason.to_owned()))
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// Reasons of the statuses that servers of this project send.
fn reason_of(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}
