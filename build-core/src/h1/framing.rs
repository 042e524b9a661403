use super::Headers;
use super::{Error, HostPolicy, RequestHead, ResponseHead, Version};

/// How the end of a received body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; 0 for messages without a body.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Everything up to the end of the connection.
    UntilClose,
}

impl Framing {
    /// Framing of a request body.
    ///
    /// # Errors
    /// Everything that two readers could understand differently: repeated or listed
    /// lengths, a length together with a coding, codings other than one `chunked`.
    pub fn of_request(head: &RequestHead) -> Result<Self, Error> {
        Ok(Self::of_fields(head.headers(), head.version())?.unwrap_or(Self::Length(0)))
    }

    /// Framing of the response to a request with this method.
    ///
    /// # Errors
    /// As [`Framing::of_request`].
    pub fn of_response(head: &ResponseHead, request_method: &str) -> Result<Self, Error> {
        let framing = Self::of_fields(head.headers(), head.version())?;
        if !may_have_body(head.status()) || request_method == "HEAD" {
            return Ok(Self::Length(0));
        }
        Ok(framing.unwrap_or(Self::UntilClose))
    }

    fn of_fields(headers: &Headers, version: Version) -> Result<Option<Self>, Error> {
        let length = content_length(headers)?;
        if !headers.contains("Transfer-Encoding") {
            return Ok(length.map(Self::Length));
        }
        if length.is_some() {
            return Err(Error::LengthAndEncoding);
        }
        let mut codings = headers.get_all("Transfer-Encoding");
        match (codings.next(), codings.next()) {
            (Some(coding), None)
                if coding.eq_ignore_ascii_case(b"chunked") && version == Version::HTTP_11 =>
            {
                Ok(Some(Self::Chunked))
            }
            _ => Err(Error::UnsupportedTransferEncoding),
        }
    }
}

/// Whether a response of this status can have a body at all.
pub(crate) fn may_have_body(status: u16) -> bool {
    status >= 200 && status != 204 && status != 304
}

/// Checks the `Host` lines of a request.
pub(crate) fn check_host(head: &RequestHead, policy: HostPolicy) -> Result<(), Error> {
    let mut hosts = head.headers().get_all("Host");
    let (first, second) = (hosts.next(), hosts.next());
    let demanded = head.version() == Version::HTTP_11 && policy != HostPolicy::Optional;
    match first {
        _ if second.is_some() => Err(Error::DuplicateHost),
        None if demanded => Err(Error::MissingHost),
        Some(b"") if policy == HostPolicy::Named => Err(Error::MissingHost),
        _ => Ok(()),
    }
}

/// Checks the `Expect` lines of a request.
pub(crate) fn check_expectation(head: &RequestHead) -> Result<(), Error> {
    let known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if head.version() == Version::HTTP_11 && !head.headers().get_all("Expect").all(known) {
        return Err(Error::UnsupportedExpectation);
    }
    Ok(())
}

fn content_length(headers: &Headers) -> Result<Option<u64>, Error> {
    let mut values = headers.get_all("Content-Length");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => decimal(value).map(Some).ok_or(Error::InvalidContentLength),
        _ => Err(Error::InvalidContentLength),
    }
}

/// Digits only: no sign, no blank, no list.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
