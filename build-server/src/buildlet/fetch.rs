//! Archives that the buildlet downloads itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use build_core::h1::io::{Client, Duplex};
use build_core::h1::{Limits, RequestHead};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::{Lost, Refusal, chain};
use super::bridge::{BodyReader, consume};
use super::server::App;

/// To connect, and to get the head of an answer.
const DIAL: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(60);
/// Redirections followed.
const MOST_REDIRECTS: usize = 10;

/// Downloads `url` and runs `work` on what comes, on a thread that may block.
pub(crate) async fn fetch<T: Send + 'static>(
    app: &Arc<App>,
    url: &str,
    work: impl FnOnce(BodyReader) -> Result<T, Refusal> + Send + 'static,
) -> Result<Result<T, Refusal>, Lost> {
    let mut target = url.to_owned();
    for _ in 0..=MOST_REDIRECTS {
        let failed = |text: String| Ok(Err(Refusal::failed(format!("fetching URL {url}: {text}"))));
        let (parsed, mut client) = match connect(app, &target).await {
            Ok(connected) => connected,
            Err(text) => return failed(text),
        };
        let request = RequestHead::new("GET", &parsed.path)
            .with("Host", &parsed.authority)
            .with("User-Agent", "farmer-buildlet")
            .with("Connection", "close");
        let mut response = match timeout(HEAD, client.send(&request, None)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return failed(chain(&error)),
            Err(_) => return failed("no answer in time".into()),
        };
        let head = response.head();
        match (head.status(), head.headers().get_str("Location")) {
            (200, _) => {
                return consume(&app.supervisor, "fetch an archive", &mut response, work).await;
            }
            (301 | 302 | 303 | 307 | 308, Some(location)) => match parsed.join(location) {
                Some(next) => target = next,
                None => return failed(format!("cannot follow a redirection to {location:?}")),
            },
            _ => {
                let text = format!(
                    "writetgz: fetching provided URL {url:?}: {}",
                    head.status_text()
                );
                return Ok(Err(Refusal::failed(text)));
            }
        }
    }
    Ok(Err(Refusal::failed(format!(
        "fetching URL {url}: more than {MOST_REDIRECTS} redirections"
    ))))
}

type Connected = (Url, Client<Box<dyn Duplex>>);

async fn connect(app: &App, url: &str) -> Result<Connected, String> {
    let url = Url::parse(url).ok_or("neither http://host/path nor https://host/path")?;
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
    let mut found: Vec<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
    if !app.config.fetch_anywhere {
        // The address that is checked is the one that is used: a name could mean another one
        // the next time it is asked for.
        found.retain(|address| !is_link_local(address.ip()));
        if found.is_empty() {
            return Err("link-local and metadata addresses are not fetched from".into());
        }
    }
    let stream = match timeout(DIAL, TcpStream::connect(&found[..])).await {
        Ok(connected) => connected.map_err(|error| error.to_string())?,
        Err(_) => return Err("no connection in time".into()),
    };
    let io = url
        .secure(stream)
        .await
        .map_err(|error| error.to_string())?;
    Ok((url, Client::new(io, Limits::default())))
}

/// Where clouds tell machines their credentials: link-local addresses, and those that some
/// clouds chose elsewhere.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let known = [[168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]];
            v4.is_link_local() || v4.is_unspecified() || known.contains(&v4.octets())
        }
        IpAddr::V6(v6) => match v6.to_ipv4() {
            // Loopback looks like an embedded address too.
            Some(v4) if !v6.is_loopback() => is_link_local(v4.into()),
            _ => v6.is_unicast_link_local() || v6.segments()[..2] == [0xfd00, 0xec2],
        },
    }
}

/// As much of a URL as a download needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    tls: bool,
    host: String,
    port: u16,
    /// Host and port as they were written.
    authority: String,
    /// Path and query.
    path: String,
}

impl Url {
    /// `None` for anything but http and https, and for URLs with a user.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let (host, port) = split_port(authority)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if host.is_empty()
            || !host.bytes().all(plain)
            || !path.bytes().all(|b| b.is_ascii_graphic())
        {
            return None;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(Self {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.to_owned(),
            path: format!("{slash}{path}"),
        })
    }

    /// Where a redirection from here leads; it must not go from https to http.
    fn join(&self, location: &str) -> Option<String> {
        let scheme = if self.tls { "https" } else { "http" };
        let next = match location.strip_prefix("//") {
            Some(rest) => format!("{scheme}://{rest}"),
            None if location.starts_with('/') => format!("{scheme}://{}{location}", self.authority),
            None => location.to_owned(),
        };
        let parsed = Self::parse(&next)?;
        (parsed.tls || !self.tls).then_some(next)
    }

    #[cfg(feature = "buildlet-tls")]
    async fn secure(&self, stream: TcpStream) -> io::Result<Box<dyn Duplex>> {
        match self.tls {
            true => Ok(Box::new(super::tls::connect(stream, &self.host).await?)),
            false => Ok(Box::new(stream)),
        }
    }

    #[cfg(not(feature = "buildlet-tls"))]
    async fn secure(&self, stream: TcpStream) -> io::Result<Box<dyn Duplex>> {
        match self.tls {
            true => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this buildlet was built without TLS",
            )),
            false => Ok(Box::new(stream)),
        }
    }
}

/// Host and port; the brackets of an IPv6 address are taken off.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = rest.strip_prefix(':').map(str::parse).transpose().ok()?;
        return (rest.is_empty() || port.is_some()).then_some((host, port));
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("http://[::1]:8080?x=1#top").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("::1", 8080, "/?x=1")
        );
        let url = Url::parse("HTTPS://example.org/a/b.tgz").unwrap();
        assert_eq!(
            (url.tls, url.port, url.authority.as_str()),
            (true, 443, "example.org")
        );
        for bad in [
            "ftp://x/",
            "http://u:p@x/",
            "http://",
            "x",
            "http://x:y/",
            "http://a b/",
            "file:///etc",
        ] {
            assert_eq!(Url::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn redirections_stay_within_reason() {
        let url = Url::parse("https://example.org:444/a").unwrap();
        assert_eq!(url.join("/b").as_deref(), Some("https://example.org:444/b"));
        assert_eq!(url.join("//cdn/b").as_deref(), Some("https://cdn/b"));
        assert_eq!(url.join("http://example.org/b"), None);
        assert_eq!(url.join("b"), None);
    }

    #[test]
    fn metadata_addresses_are_known() {
        for bad in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "168.63.129.16",
            "0.0.0.0",
        ] {
            assert!(is_link_local(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "::1", "10.0.0.1", "8.8.8.8", "2001:db8::1"] {
            assert!(!is_link_local(good.parse().unwrap()), "{good}");
        }
    }
}
