//! A buildlet over HTTP.

mod attach;
mod connections;
mod exchange;
mod heart;
mod link;
mod output;
mod requests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::{
    Buildlet, ByteStream, DirEntry, Exec, ExecReport, ExecStatus, ExecStream, GO_USER, KeptTree,
    ListDir, MAX_FORM_BYTES, NOT_GET, Route, Status, Wire, basic_auth,
};
use build_core::ids::{ExecId, Nonce};
use build_core::name::Name;
use bytes::Bytes;
use futures::TryStreamExt;

use self::link::Link;
use self::output::{Download, Output};
use crate::transport::{Dial, TcpDial};
use crate::{Error, ErrorKind, Result, Timeouts};

/// Longest answer of the calls that give a text or a listing. A recursive listing of a
/// million files fits.
const LONGEST_ANSWER: usize = 256 << 20;

/// A buildlet that is spoken to over HTTP/1.1, in the dialect of `docs/protocol/buildlet.md`.
///
/// Clones share the few connections and the buildlet's life. While a call is under way the
/// buildlet is asked for a sign of life every ten seconds; after three misses in a row it is
/// dead: all calls under way end with [`ErrorKind::Unavailable`], and so does every later one.
/// There is no task of its own: a call that is not polled asks for nothing.
///
/// The commands of [`Buildlet::stream`] belong to their connection: when it breaks, nobody
/// knows how the command ended, and the buildlet counts as dead. Those of
/// [`Buildlet::start`] go on, and [`Buildlet::attach`] connects again by itself at the byte
/// where the output was cut.
///
/// Cancel safety: a dropped future ends the call and closes its connection; what the buildlet
/// has done by then stays done.
#[derive(Clone)]
pub struct HttpBuildlet {
    link: Arc<Link>,
}

/// How to speak to a buildlet; made by [`HttpBuildlet::builder`].
pub struct HttpBuildletBuilder {
    dial: Arc<dyn Dial>,
    name: Option<String>,
    authorization: Option<String>,
    fields: Vec<(String, String)>,
    timeouts: Timeouts,
}

impl HttpBuildletBuilder {
    /// A name for people; else the place.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The password the buildlet asks for.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        let password: String = password.into();
        self.authorization = Some(basic_auth(GO_USER, &password));
        self
    }

    /// The value of `Authorization` in the place of a password: for a buildlet behind a
    /// coordinator.
    #[must_use]
    pub fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// A field that every request carries.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// How long to wait for what.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The client; nothing is sent yet.
    #[must_use]
    pub fn build(self) -> HttpBuildlet {
        let name = self
            .name
            .unwrap_or_else(|| self.dial.authority().to_owned());
        HttpBuildlet {
            link: Arc::new(Link::new(
                self.dial,
                name,
                self.authorization,
                self.fields,
                self.timeouts,
            )),
        }
    }
}

impl HttpBuildlet {
    /// A client over the connections of `dial`.
    pub fn builder(dial: impl Dial + 'static) -> HttpBuildletBuilder {
        HttpBuildletBuilder {
            dial: Arc::new(dial),
            name: None,
            authorization: None,
            fields: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }

    /// A client for a buildlet without password at `address` (name or number, and port), over
    /// plain TCP.
    pub fn direct(address: impl Into<String>) -> Self {
        Self::builder(TcpDial::new(address)).build()
    }

    /// A client for a buildlet that was started with `pair`: TLS, with its password.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the certificate cannot be parsed.
    #[cfg(feature = "tls")]
    pub fn with_key_pair(address: impl Into<String>, pair: &crate::KeyPair) -> Result<Self> {
        let dial = crate::transport::TlsDial::new(TcpDial::new(address), pair.pinned_key()?);
        Ok(Self::builder(dial).password(pair.password()).build())
    }

    /// Whether the buildlet counts as dead: every call fails from now on.
    pub fn is_broken(&self) -> bool {
        self.link.heart().is_dead()
    }

    /// Gives the buildlet up: ends every call under way, and all that come fail.
    pub fn mark_broken(&self, cause: Error) {
        self.link.give_up(cause);
    }

    /// Completes when the buildlet is dead, with the reason, and asks for signs of life
    /// meanwhile. For those who watch a buildlet on which no call is under way.
    pub async fn until_broken(&self) -> Error {
        self.link.until_dead().await
    }

    /// Extends the lease under which the buildlet runs: without it, the buildlet ends
    /// everything and itself after `ttl`.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when `nonce` is not that of the lease.
    pub async fn renew_lease(&self, nonce: &Nonce, ttl: Duration) -> Result<()> {
        self.link
            .ask(requests::renew_lease(nonce, ttl))
            .await?
            .finish()
            .await
    }

    /// Makes the buildlet download a gzip-compressed tar from `url` and unpack it into `dir`.
    ///
    /// # Errors
    /// The download's, in the buildlet's words.
    pub async fn put_tar_from_url(&self, url: &str, dir: &str) -> Result<()> {
        self.link
            .ask(requests::put_tar_from_url(url, dir))
            .await?
            .finish()
            .await
    }

    async fn tree(&self, request: exchange::Request) -> Result<KeptTree> {
        parse_json(&self.link.ask_for_bytes(request, LONGEST_ANSWER).await?)
    }

    async fn text(&self, request: exchange::Request) -> Result<String> {
        let bytes = self.link.ask_for_bytes(request, LONGEST_ANSWER).await?;
        String::from_utf8(bytes)
            .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "answer is not UTF-8", e))
    }
}

#[async_trait]
impl Buildlet for HttpBuildlet {
    fn name(&self) -> String {
        self.link.name().to_owned()
    }

    async fn status(&self) -> Result<Status> {
        self.link.status().await
    }

    async fn work_dir(&self) -> Result<String> {
        self.text(self.link.limited(requests::get(Route::WorkDir)))
            .await
    }

    async fn put(&self, path: &str, mode: u32, contents: ByteStream) -> Result<()> {
        self.link
            .ask(requests::put(path, mode, contents))
            .await?
            .finish()
            .await
    }

    async fn put_tar(&self, tgz: ByteStream, dir: &str) -> Result<()> {
        self.link
            .ask(requests::put_tar(tgz, dir))
            .await?
            .finish()
            .await
    }

    async fn fetch_tar(&self, url: &str, dir: &str) -> Result<()> {
        self.put_tar_from_url(url, dir).await
    }

    async fn get_tar(&self, dir: &str) -> Result<ByteStream> {
        let reply = self.link.ask(requests::get_tar(dir)).await?;
        Ok(Box::pin(Download::new(reply, Arc::clone(&self.link))))
    }

    async fn get_files(&self, dir: &str, paths: &[Name]) -> Result<ByteStream> {
        // As large as a form can be, each byte written as three, or escaped as six.
        let length = |path: &Name| match path.as_str() {
            Some(text) => 3 * text.len() + 6,
            None => 6 * path.as_bytes().len() + 14,
        };
        let length: usize = paths.iter().map(length).sum();
        if length as u64 > MAX_FORM_BYTES {
            let text = format!("{} files are too many for one request", paths.len());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        match self.link.ask(requests::get_files(dir, paths)).await {
            Ok(reply) => Ok(Box::pin(Download::new(reply, Arc::clone(&self.link)))),
            // A buildlet of 2020 knows whole directories alone.
            Err(error) if error.chain().contains(NOT_GET) => {
                let text = format!("{} packs whole directories only", self.name());
                Err(Error::caused_by(ErrorKind::Unsupported, text, error))
            }
            Err(error) => Err(error),
        }
    }

    async fn platform(&self) -> Result<(String, String)> {
        let status = self.status().await?;
        if !status.os.is_empty() && !status.arch.is_empty() {
            return Ok((status.os, status.arch));
        }
        // One of 2020 says so on its first page alone.
        let request = self.link.limited(requests::get(Route::Root));
        let greeting = self.text(request).await?;
        let platform = greeting.trim().strip_prefix("buildlet running on ");
        let platform = platform.and_then(|platform| platform.split_once('-'));
        platform
            .map(|(os, arch)| (os.to_owned(), arch.to_owned()))
            .ok_or_else(|| {
                let text = format!("{} does not tell its system", self.name());
                Error::new(ErrorKind::Unsupported, text)
            })
    }

    async fn kept_tree(&self, sha256: &str) -> Result<Option<String>> {
        let request = self.link.limited(requests::kept_tree(sha256));
        Ok(self.tree(request).await?.dir)
    }

    async fn keep_tree(&self, sha256: &str, tgz: ByteStream) -> Result<String> {
        let kept = self.tree(requests::keep_tree(sha256, tgz)).await?;
        kept.dir.ok_or_else(no_path)
    }

    async fn keep_tree_from(&self, sha256: &str, url: &str) -> Result<String> {
        let kept = self.tree(requests::keep_tree_from(sha256, url)).await?;
        kept.dir.ok_or_else(no_path)
    }

    async fn list_dir(&self, what: &ListDir) -> Result<Vec<DirEntry>> {
        let asked = requests::list_dir(what);
        let listed = self.link.ask_for_bytes(asked, LONGEST_ANSWER).await?;
        let lines = listed.split_inclusive(|byte| *byte == b'\n');
        lines.map(DirEntry::parse_line).collect()
    }

    async fn remove_all(&self, paths: &[String]) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        self.link
            .ask(requests::remove_all(paths))
            .await?
            .finish()
            .await
    }

    async fn stream(&self, exec: Exec) -> Result<ExecStream> {
        let request = self.link.limited(requests::exec(&exec));
        let reply = self.link.ask(request).await.inspect_err(|error| {
            if error.kind().is_retryable() {
                self.mark_broken(Error::new(ErrorKind::Unavailable, error.chain()));
            }
        })?;
        Ok(Box::pin(Output::new(reply, Arc::clone(&self.link))))
    }

    async fn start(&self, exec: Exec) -> Result<ExecStatus> {
        if exec.id.is_none() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "detached command without an id",
            ));
        }
        self.link
            .exec_report(requests::start(&exec))
            .await
            .map(ExecStatus::from)
    }

    async fn attach(&self, id: &ExecId, offset: u64) -> Result<ExecStream> {
        attach::attach(Arc::clone(&self.link), id.clone(), offset).await
    }

    async fn exec_status(&self, id: &ExecId) -> Result<ExecStatus> {
        self.link
            .exec_report(requests::exec_state(id))
            .await
            .map(ExecStatus::from)
    }

    async fn started(&self) -> Result<Vec<ExecStatus>> {
        let request = self.link.limited(requests::get(Route::Exec));
        let bytes = self.link.ask_for_bytes(request, LONGEST_ANSWER).await;
        let bytes = bytes.map_err(|error| match error.kind() {
            // So a buildlet of 2020 says that it knows no such list.
            ErrorKind::Invalid => {
                let text = format!("{} does not list its commands", self.name());
                Error::caused_by(ErrorKind::Unsupported, text, error)
            }
            _ => error,
        })?;
        let reports: Vec<ExecReport> = parse_json(&bytes)?;
        Ok(reports.into_iter().map(ExecStatus::from).collect())
    }

    async fn kill(&self, id: &ExecId) -> Result<()> {
        self.link.ask(requests::kill(id)).await?.finish().await
    }

    async fn connect(&self) -> Result<Wire> {
        self.link.connect().await
    }

    async fn close(&self) -> Result<()> {
        self.link.close().await
    }
}

fn no_path() -> Error {
    Error::new(ErrorKind::Corrupt, "a kept tree has no path")
}

fn parse_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "parse answer", e))
}

/// One piece as a stream, for [`Buildlet::put`] and [`Buildlet::put_tar`].
pub fn once(bytes: impl Into<Bytes>) -> ByteStream {
    let bytes = bytes.into();
    Box::pin(futures::stream::once(async move { Ok(bytes) }))
}

/// A whole stream in memory.
///
/// # Errors
/// The stream's.
pub async fn collect(stream: ByteStream) -> Result<Vec<u8>> {
    stream
        .try_fold(Vec::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await
}
