//! HTTP proxies: roads to servers that cannot be reached directly.

use std::fmt;
use std::io;
use std::str::FromStr;

use base64::Engine as _;
use build_core::h1::ResponseHead;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Connection;
use crate::{Error, ErrorKind, Result};

/// Largest head of a proxy's answer.
const HEAD_BYTES: usize = 16 * 1024;

/// Most fields of its answer.
const MAX_FIELDS: usize = 100;

/// A proxy that connects to other servers by `CONNECT`.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    address: String,
    credentials: Option<String>,
    /// Hosts that are reached without it.
    direct: Vec<String>,
}

impl fmt::Debug for Proxy {
    /// Leaves out the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.address)
    }
}

impl FromStr for Proxy {
    type Err = Error;

    /// Reads `http://host:port`, with `user:password@` before the host where the proxy asks for
    /// it, or `host:port`. The port is 80 when there is none.
    fn from_str(text: &str) -> Result<Self> {
        // The text may hold a password, and is not repeated.
        let invalid = |why: &str| Error::new(ErrorKind::Invalid, format!("the proxy's URL: {why}"));
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(invalid("only http:// is known")),
            None => text,
        };
        let rest = rest.split('/').next().unwrap_or_default();
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(invalid("it names no host"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(before, port)| {
            port.parse::<u16>().is_ok() && (!before.contains(':') || before.ends_with(']'))
        });
        Ok(Self {
            address: match has_port {
                true => host.to_owned(),
                false => format!("{host}:80"),
            },
            credentials: user.map(decode),
            direct: Vec::new(),
        })
    }
}

/// `%40` and the like in the user's part of a URL.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).and_then(|pair| hex::decode(pair).ok());
        match pair {
            Some(pair) if *first == b'%' => {
                bytes.extend(pair);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Proxy {
    /// Hosts that are reached without it, as `NO_PROXY` lists them: names with all their
    /// subdomains, addresses, `*` for all, divided by commas.
    #[must_use]
    pub fn except(mut self, list: &str) -> Self {
        let names = list
            .split(',')
            .map(|name| name.trim().trim_start_matches('.'));
        self.direct.extend(
            names
                .filter(|name| !name.is_empty())
                .map(str::to_ascii_lowercase),
        );
        self
    }

    /// Whether connections to `host` go through it.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        !self.direct.iter().any(|name| {
            name == "*"
                || *name == host
                || host
                    .strip_suffix(name.as_str())
                    .is_some_and(|before| before.ends_with('.'))
        })
    }

    /// A connection through it to `target`, a host and a port. The caller sets the deadline.
    ///
    /// # Errors
    /// The system's, or the proxy's refusal in its own words.
    pub async fn connect(&self, target: &str) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let authorization = match &self.credentials {
            Some(user) => format!(
                "Proxy-Authorization: Basic {}\r\n",
                base64::engine::general_purpose::STANDARD.encode(user)
            ),
            None => String::new(),
        };
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut received = BytesMut::new();
        let end = loop {
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if received.len() > HEAD_BYTES {
                return Err(io::Error::other(format!(
                    "the head of the answer of proxy {} has more than {HEAD_BYTES} bytes",
                    self.address
                )));
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = ResponseHead::parse(&received[..end], MAX_FIELDS).map_err(io::Error::other)?;
        if head.status() != 200 {
            let text = format!(
                "proxy {} does not connect to {target}: {}",
                self.address,
                head.status_text()
            );
            return Err(io::Error::other(text));
        }
        if received.len() > end {
            // TLS servers do not speak first: this is none.
            return Err(io::Error::other(format!(
                "proxy {} has sent bytes behind its answer",
                self.address
            )));
        }
        Ok(Box::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_and_do_not_show_passwords() {
        let proxy: Proxy = "http://u:p%40w@proxy.example:3128/".parse().unwrap();
        assert_eq!(proxy.credentials.as_deref(), Some("u:p@w"));
        assert_eq!(format!("{proxy:?}"), "Proxy(proxy.example:3128)");
        let plain: Proxy = "proxy".parse().unwrap();
        assert_eq!(plain.address, "proxy:80");
        for bad in ["", "http://", "socks5://x", "http://u:secret@"] {
            let error = bad.parse::<Proxy>().unwrap_err();
            assert!(!error.chain().contains("secret"), "{error}");
        }
    }

    #[test]
    fn some_hosts_are_reached_directly() {
        let proxy: Proxy = "proxy:1".parse().unwrap();
        let proxy = proxy.except("localhost, .corp.example,10.0.0.1");
        assert!(proxy.serves("farm.example"));
        assert!(proxy.serves("notcorp.example"));
        for host in ["localhost", "a.corp.example", "corp.example", "10.0.0.1"] {
            assert!(!proxy.serves(host), "{host}");
        }
        assert!(!"p".parse::<Proxy>().unwrap().except("*").serves("x"));
    }
}
