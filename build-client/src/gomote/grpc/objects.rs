//! Files, which go by addresses that the server tells: calls carry none.

use std::io::SeekFrom;
use std::time::Duration;

use build_core::buildlet::ByteStream;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;
use url::{Host, Url};

use super::super::protos::UploadFileResponse;
use crate::{Error, ErrorKind, Result, rest};

/// Longest time for one file on its way there.
const SEND: Duration = Duration::from_secs(6 * 3600);
/// Longest text of a refusal that is shown.
const MAX_TEXT: usize = 500;

pub(super) struct Objects {
    /// Without a bound on silence: the answer to a file comes when all of it is there.
    send: reqwest::Client,
    get: reqwest::Client,
}

impl Objects {
    pub(super) fn new(roots: Option<&[u8]>) -> Result<Self> {
        Ok(Self {
            send: rest::build(rest::unhurried(roots)?)?,
            get: rest::client(roots)?,
        })
    }

    /// Sends a file where the server wants it, and gives the URL by which the server knows it.
    /// It is written to this machine's disk first: stores of objects want to know its size.
    pub(super) async fn send(&self, to: &UploadFileResponse, file: ByteStream) -> Result<String> {
        let url = checked(&to.url)?;
        let mut boundary = [0; 16];
        getrandom::fill(&mut boundary)
            .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "no random bytes", e))?;
        let Form {
            kind,
            before,
            after,
        } = Form::new(to, &hex::encode(boundary));
        let (spooled, bytes) = spool(file).await?;
        let length = before.len() as u64 + bytes + after.len() as u64;
        let before = futures::stream::once(async { Ok::<_, std::io::Error>(before) });
        let after = futures::stream::once(async { Ok(after) });
        let body = before.chain(ReaderStream::new(spooled)).chain(after);
        let sent = self
            .send
            .post(url)
            .timeout(SEND)
            .header(reqwest::header::CONTENT_TYPE, kind)
            .header(reqwest::header::CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(body))
            .send()
            .await;
        let answer = sent.map_err(|error| rest::failed("send the file", hidden(error)))?;
        match answer.status().as_u16() {
            200..=299 => Ok(format!("{}{}", to.url, to.object_name)),
            _ => Err(refused("the file was not taken", answer).await),
        }
    }

    /// What lies at an address.
    pub(super) async fn get(&self, url: &str) -> Result<ByteStream> {
        let sent = self.get.get(checked(url)?).send().await;
        let answer = sent.map_err(|error| rest::failed("fetch the file", hidden(error)))?;
        if answer.status() != 200 {
            return Err(refused("the file is not given", answer).await);
        }
        let pieces = answer.bytes_stream();
        Ok(Box::pin(pieces.map_err(|error| {
            rest::failed("fetch the file", hidden(error))
        })))
    }
}

/// An address is a permission: it is not shown.
fn hidden(error: reqwest::Error) -> reqwest::Error {
    error.without_url()
}

async fn refused(what: &str, answer: reqwest::Response) -> Error {
    let status = answer.status();
    // A refusal that is cut off is a refusal all the same.
    let text = answer.text().await.unwrap_or_default();
    let text: String = text.trim().chars().take(MAX_TEXT).collect();
    let kind = match status.as_u16() {
        404 | 410 => ErrorKind::NotFound,
        401 | 403 => ErrorKind::Denied,
        400 => ErrorKind::Invalid,
        413 | 507 => ErrorKind::Limit,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what}: {status}: {text}"))
}

/// An address to which files may go: encrypted, or of this machine.
fn checked(text: &str) -> Result<Url> {
    let bad = |why: &str| {
        let text = format!("the server names an address for a file that {why}");
        Error::new(ErrorKind::Denied, text)
    };
    let url = Url::parse(text).map_err(|_| bad("is none"))?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err(bad("has no host")),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(bad("would be reached in the clear")),
    }
}

async fn spool(mut file: ByteStream) -> Result<(tokio::fs::File, u64)> {
    let io =
        |error: std::io::Error| Error::from(error).while_doing("keep a file that is to be sent");
    let mut spooled = tokio::fs::File::from_std(tempfile::tempfile().map_err(io)?);
    let mut bytes = 0;
    while let Some(piece) = file.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        spooled.write_all(&piece).await.map_err(io)?;
    }
    spooled.flush().await.map_err(io)?;
    spooled.seek(SeekFrom::Start(0)).await.map_err(io)?;
    Ok((spooled, bytes))
}

/// A form whose last part is the file.
struct Form {
    kind: String,
    before: Bytes,
    after: Bytes,
}

impl Form {
    fn new(to: &UploadFileResponse, boundary: &str) -> Self {
        let mut before = String::new();
        let mut fields: Vec<_> = to.fields.iter().collect();
        fields.sort();
        for (name, value) in fields {
            before += &format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{value}\r\n",
                quoted(name)
            );
        }
        before += &format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            quoted(&to.object_name)
        );
        Self {
            kind: format!("multipart/form-data; boundary={boundary}"),
            before: before.into(),
            after: format!("\r\n--{boundary}--\r\n").into(),
        }
    }
}

/// A name within quotes: what would end them, or the line, is written as browsers do.
fn quoted(name: &str) -> String {
    name.replace('\r', "%0D")
        .replace('\n', "%0A")
        .replace('"', "%22")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_to_encrypted_addresses_and_to_this_machine() {
        for good in [
            "https://storage.example.com/b/",
            "http://localhost:80/x",
            "http://127.0.0.1:1/",
            "http://[::1]/x",
        ] {
            checked(good).unwrap();
        }
        for bad in [
            "http://storage.example.com/b/",
            "file:///etc",
            "no address",
            "http://localhost.example.com/",
        ] {
            assert_eq!(checked(bad).unwrap_err().kind(), ErrorKind::Denied, "{bad}");
        }
    }

    #[test]
    fn the_file_is_the_last_part_and_names_stay_within_their_quotes() {
        let mut to = UploadFileResponse {
            object_name: "f\"\r\nX: y".into(),
            ..Default::default()
        };
        to.fields.insert("policy".into(), "p".into());
        to.fields.insert("key".into(), "k".into());
        let form = Form::new(&to, "edge");
        let text = String::from_utf8(form.before.to_vec()).unwrap();
        assert!(text.starts_with(
            "--edge\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--edge\r\n"
        ));
        assert!(text.ends_with("name=\"file\"; filename=\"f%22%0D%0AX: y\"\r\nContent-Type: application/octet-stream\r\n\r\n"));
        assert_eq!(form.after, "\r\n--edge--\r\n");
    }
}
