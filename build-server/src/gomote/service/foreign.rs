//! Files that lie elsewhere, fetched by this server for somebody: only from the public network,
//! for this server reaches more than they may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use build_client::rest;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use url::{Host, Url};

/// Until there is an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Redirections followed.
const MOST_REDIRECTS: usize = 5;
const NOT_PUBLIC: &str = "only addresses of the public network are fetched from";

/// Fetches.
#[derive(Clone)]
pub(super) struct Foreign {
    http: reqwest::Client,
    reaches: fn(IpAddr) -> bool,
}

/// Looks names up, and keeps the addresses that may be asked: the address that is checked is the
/// one that is used.
struct Names(fn(IpAddr) -> bool);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let reaches = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept: Vec<SocketAddr> = found.filter(|at| reaches(at.ip())).collect();
            match kept.is_empty() {
                true => Err(NOT_PUBLIC.into()),
                false => Ok(Box::new(kept.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether a URL may be asked: addresses in it are not looked up.
fn may_ask(url: &Url, reaches: fn(IpAddr) -> bool) -> bool {
    let is_web = matches!(url.scheme(), "http" | "https");
    is_web
        && match url.host() {
            Some(Host::Ipv4(ip)) => reaches(ip.into()),
            Some(Host::Ipv6(ip)) => reaches(ip.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        }
}

impl Foreign {
    pub(super) fn new() -> Result<Self> {
        Self::reaching(is_public)
    }

    fn reaching(reaches: fn(IpAddr) -> bool) -> Result<Self> {
        let follow = move |next: Attempt<'_>| {
            let steps_down = next
                .previous()
                .last()
                .is_some_and(|from| from.scheme() == "https")
                && next.url().scheme() != "https";
            if next.previous().len() > MOST_REDIRECTS || steps_down {
                next.stop()
            } else if may_ask(next.url(), reaches) {
                next.follow()
            } else {
                next.error(NOT_PUBLIC)
            }
        };
        let http = rest::builder(None)?
            .redirect(Policy::custom(follow))
            .dns_resolver(Arc::new(Names(reaches)))
            .no_proxy()
            .build();
        let http =
            http.map_err(|e| Error::caused_by(ErrorKind::Bug, "setting up the HTTP client", e))?;
        Ok(Self { http, reaches })
    }

    /// The contents of a file.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for addresses that are not public, [`ErrorKind::Unavailable`] when
    /// there is no such file.
    pub(super) async fn fetch(&self, url: &Url) -> Result<ByteStream> {
        if !may_ask(url, self.reaches) {
            return Err(Error::new(ErrorKind::Denied, NOT_PUBLIC)
                .with_hint("send the file itself: gomote put"));
        }
        let failed = |error: reqwest::Error| {
            // What stands in a URL may be a permission.
            Error::caused_by(
                ErrorKind::Unavailable,
                "cannot fetch it",
                error.without_url(),
            )
        };
        let asked = tokio::time::timeout(ANSWER, self.http.get(url.clone()).send()).await;
        let answer = asked
            .map_err(|_| Error::new(ErrorKind::TimedOut, "no answer in time"))?
            .map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            let text = format!("response code: {}", answer.status().as_u16());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(answer.bytes_stream().map_err(failed).boxed())
    }
}

/// Whether an address is one of the public network.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let special = (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
    // Clouds tell machines their credentials there.
    let metadata = [[168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]];
    !(a == 0
        || a >= 224
        || shared
        || special
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || metadata.contains(&ip.octets()))
}

/// Global unicast, without the ranges that lead into IPv4.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let is_teredo = first == 0x2001 && second == 0;
    let is_6to4 = first == 0x2002;
    let is_documentation = first == 0x2001 && second == 0xdb8;
    first & 0xe000 == 0x2000 && !is_teredo && !is_6to4 && !is_documentation
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_the_public_network_is() {
        for public in ["8.8.8.8", "142.250.1.1", "2607:f8b0::1", "::ffff:8.8.8.8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::",
            "::7f00:1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    /// Answers every request with this text.
    async fn answering(text: &'static str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own server")]
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        (at, serving)
    }

    async fn fetch(foreign: &Foreign, url: &str) -> Result<Vec<u8>> {
        let stream = foreign.fetch(&Url::parse(url).unwrap()).await?;
        let pieces: Vec<_> = stream.try_collect().await?;
        Ok(pieces.concat())
    }

    #[tokio::test]
    async fn files_come_from_the_public_network_alone() {
        let file = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        let (at, serving) = answering(file).await;
        // As if this machine were the public network, but for the address of metadata.
        let near = Foreign::reaching(|ip| ip.is_loopback()).unwrap();
        let url = format!("http://{at}/f");
        assert_eq!(fetch(&near, &url).await.unwrap(), b"hello");
        let named = format!("http://localhost:{}/f", at.port());
        assert_eq!(fetch(&near, &named).await.unwrap(), b"hello");
        serving.abort();

        let public = Foreign::new().unwrap();
        for url in [
            url.as_str(),
            "http://169.254.169.254/latest/",
            "ftp://example.com/x",
        ] {
            let error = fetch(&public, url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{url}: {}", error.chain());
        }
        let error = fetch(&public, &named).await.unwrap_err();
        assert!(error.chain().contains(NOT_PUBLIC), "{}", error.chain());

        let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let (at, serving) = answering(missing).await;
        let error = fetch(&near, &format!("http://{at}/secret"))
            .await
            .unwrap_err();
        assert!(error.chain().contains("404"), "{}", error.chain());
        assert!(!error.chain().contains("secret"));
        serving.abort();

        let leads_away =
            "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
        let (at, serving) = answering(leads_away).await;
        let error = fetch(&near, &format!("http://{at}/")).await.unwrap_err();
        assert!(error.chain().contains(NOT_PUBLIC), "{}", error.chain());
        serving.abort();
    }
}
