//! Small questions over plain HTTP, to services of the machine's own network: metadata, signs of
//! life.

use std::time::Duration;

use build_core::h1::io::{Body as _, Client};
use build_core::h1::{Limits, RequestHead};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Error, ErrorKind, Result};

/// Largest answer.
const BYTES: usize = 1 << 20;

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Its fields `Metadata-Flavor`, which tells the metadata of Google.
    pub(crate) flavor: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Asks `GET url`, with these fields. Redirects are not followed.
///
/// # Errors
/// [`ErrorKind::Invalid`] for other URLs than `http://…`; [`ErrorKind::Unavailable`] and
/// [`ErrorKind::TimedOut`] when there is no answer.
pub(crate) async fn get(url: &str, fields: &[(&str, &str)], limit: Duration) -> Result<Answer> {
    let context = || format!("GET {url}");
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("{url:?} does not begin with http://"),
        )
    })?;
    let (host, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = match has_port {
        true => host.to_owned(),
        false => format!("{host}:80"),
    };
    let mut head = RequestHead::new("GET", path).with("Host", host);
    for (name, value) in fields {
        head = head.with(name, value);
    }
    let asked = async {
        let failed = |e| Error::caused_by(ErrorKind::Unavailable, context(), e);
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|e| Error::caused_by(ErrorKind::Unavailable, context(), e))?;
        let mut client = Client::new(stream, Limits::default());
        let mut response = client.send(&head, None).await.map_err(failed)?;
        let (status, flavor) = {
            let head = response.head();
            let flavor = head.headers().get_str("Metadata-Flavor").map(str::to_owned);
            (head.status(), flavor)
        };
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&piece);
            if body.len() > BYTES {
                let text = format!("{}: more than {BYTES} bytes", context());
                return Err(Error::new(ErrorKind::Limit, text));
            }
        }
        Ok(Answer {
            status,
            flavor,
            body,
        })
    };
    match timeout(limit, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::new(
            ErrorKind::TimedOut,
            format!("{}: no answer in {} s", context(), limit.as_secs()),
        )),
    }
}
