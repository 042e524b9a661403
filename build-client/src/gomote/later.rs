//! Which interface is spoken: that of 2020, or that of later years.

use std::sync::{Arc, OnceLock};

use build_core::buildlet::Buildlet;

use super::GomoteClient;
use super::client::SharedDial;
use super::grpc::{Calls, GrpcBuildlet};
use super::told::Listed;
use crate::transport::Dial;
use crate::{Error, ErrorKind, Result, Timeouts};

/// By which interface a coordinator is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    /// That of 2020, and that of later years where the server does not answer by it.
    #[default]
    Auto,
    /// That of December 2020: HTTP.
    Http,
    /// That of later years: gRPC.
    Grpc,
}

/// The interface of later years, and whether it is spoken.
#[derive(Debug)]
pub(super) struct Later {
    calls: Arc<Calls>,
    /// Not set as long as nobody knows.
    is_spoken: OnceLock<bool>,
}

impl Later {
    /// The list, which shows as well which interface is spoken: asking for it changes nothing.
    pub(super) async fn list(
        &self,
        as_in_2020: impl Future<Output = Result<Vec<Listed>>>,
    ) -> Result<Vec<Listed>> {
        match self.is_spoken.get() {
            Some(true) => return self.calls.list().await,
            Some(false) => return as_in_2020.await,
            None => {}
        }
        let error = match as_in_2020.await {
            Err(error) if error.kind() != ErrorKind::Denied => error,
            answered => {
                // Whoever was first has found out the same.
                let _ = self.is_spoken.set(false);
                return answered;
            }
        };
        match self.calls.list().await {
            // It does not speak that one either: what it has said first is nearer to the truth.
            Err(other) if !is_answer(other.kind()) => Err(error),
            answered => {
                let _ = self.is_spoken.set(true);
                answered
            }
        }
    }

    /// The machine of this name, where this interface is spoken.
    pub(super) fn machine(&self, name: &str, timeouts: Timeouts) -> Option<Arc<dyn Buildlet>> {
        let is_spoken = *self.is_spoken.get()?;
        let calls = self.calls.clone();
        is_spoken.then(|| Arc::new(GrpcBuildlet::new(calls, name, timeouts)) as Arc<dyn Buildlet>)
    }
}

/// Whether a server that says so knows the interface.
fn is_answer(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Denied | ErrorKind::Limit)
}

impl GomoteClient {
    /// Speaks the interface of later years too, or alone, by the connections of `dial`, which
    /// offer `h2` where they are encrypted. `roots` are certificates in PEM that are trusted for
    /// files besides the usual ones.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when `roots` holds no certificate.
    pub fn with_grpc(
        mut self,
        dial: impl Dial + 'static,
        is_encrypted: bool,
        roots: Option<&[u8]>,
        api: Api,
    ) -> Result<Self> {
        let is_spoken = match api {
            Api::Http => {
                self.later = None;
                return Ok(self);
            }
            Api::Auto => OnceLock::new(),
            Api::Grpc => OnceLock::from(true),
        };
        let authorization = self.authorization.clone();
        let calls = Calls::new(SharedDial::new(dial), is_encrypted, authorization, roots)?;
        self.later = Some(Arc::new(Later {
            calls: Arc::new(calls),
            is_spoken,
        }));
        Ok(self)
    }

    /// The calls of the later interface, where that is spoken; the server is asked when nobody
    /// knows yet.
    pub(super) async fn grpc(&self) -> Result<Option<&Arc<Calls>>> {
        let Some(later) = &self.later else {
            return Ok(None);
        };
        if later.is_spoken.get().is_none() {
            self.list().await?;
        }
        let is_spoken = later.is_spoken.get() == Some(&true);
        Ok(is_spoken.then_some(&later.calls))
    }

    /// Whether there are connections to ports of machines, before anybody waits for one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the interface of later years is spoken; the server's own
    /// words when it is not known yet.
    pub async fn check_ports(&self) -> Result<()> {
        self.needs_2020("connections to ports").await
    }

    /// Refuses what only the interface of 2020 has, where the other one is spoken.
    pub(super) async fn needs_2020(&self, what: &str) -> Result<()> {
        if self.grpc().await?.is_none() {
            return Ok(());
        }
        let text = format!("the interface that this server speaks has no {what}");
        Err(Error::new(ErrorKind::Unsupported, text)
            .with_hint("a farm of ours has them by its interface of 2020: gomote -api http"))
    }
}
