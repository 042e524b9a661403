//! Turns notices of code hosts into one stream of events.
//!
//! GitHub sends signed notices over HTTP, Gerrit sends mail by SMTP whose signature is checked;
//! both become an [`Event`](build_core::pubsubtypes::Event) of an [`EventHub`]. Programs ask for
//! the next event after the last one that they saw, and wait for it.

#[cfg(feature = "dkim")]
mod dkim;
mod front;
mod gerrit;
mod hub;
mod smtp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use build_core::Result;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "dkim")]
pub use dkim::DkimVerifier;
pub use gerrit::{MailPolicy, MailVerifier, Signed, header_values};
pub use hub::EventHub;

use crate::http::{Doors, Hosts};

/// What the server is told.
#[derive(Clone)]
pub struct Options {
    /// The secret by which GitHub signs; without one its notices are not taken.
    pub webhook_secret: Option<Vec<u8>>,
    /// Takes signatures by SHA-1 too.
    pub allow_sha1: bool,
    /// Answers a wrong signature with 401; otherwise everything is answered with 200, so that
    /// the code host does not queue what it will never get rid of.
    pub strict: bool,
    /// Takes notices only over TLS: that of this server, or of a proxy that says so.
    pub require_https: bool,
    /// The name by which it presents itself to those who send mail.
    pub mail_host: String,
    /// The only recipient of mail.
    pub recipient: String,
    /// Which mail is believed.
    pub policy: MailPolicy,
    /// The names it answers to.
    pub hosts: Hosts,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            webhook_secret: None,
            allow_sha1: true,
            strict: false,
            require_https: false,
            mail_host: "localhost".to_owned(),
            recipient: "gopherbot@pubsubhelper.golang.org".to_owned(),
            policy: MailPolicy::default(),
            hosts: Hosts::default(),
        }
    }
}

/// How often something happened since the start.
#[derive(Debug, Default)]
struct Counts {
    webhooks: AtomicU64,
    webhook_bad_signature: AtomicU64,
    webhook_ignored: AtomicU64,
    mails: AtomicU64,
    mails_ignored: AtomicU64,
}

fn count(what: &AtomicU64) {
    what.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    fn to_json(&self) -> serde_json::Value {
        let of = |what: &AtomicU64| what.load(Ordering::Relaxed);
        json!({
            "webhooks": of(&self.webhooks),
            "webhook_bad_signature": of(&self.webhook_bad_signature),
            "webhook_ignored": of(&self.webhook_ignored),
            "mails": of(&self.mails),
            "mails_ignored": of(&self.mails_ignored),
        })
    }
}

/// The server. See the module.
#[derive(Clone)]
pub struct PubSub {
    hub: EventHub,
    options: Arc<Options>,
    verifier: Arc<dyn MailVerifier>,
    counts: Arc<Counts>,
}

impl PubSub {
    /// A server of the events of `hub`; `verifier` decides whose mail is genuine.
    pub fn new(hub: EventHub, options: Options, verifier: impl MailVerifier + 'static) -> Self {
        Self {
            hub,
            options: Arc::new(options),
            verifier: Arc::new(verifier),
            counts: Arc::default(),
        }
    }

    /// Serves until `token` is canceled: HTTP on one listener, mail on another, if there is one.
    ///
    /// # Errors
    /// When a listener fails for good.
    pub async fn run(
        self,
        doors: impl Into<Doors>,
        mail: Option<TcpListener>,
        token: CancellationToken,
    ) -> Result<()> {
        let router = front::router(self.clone());
        let pages = crate::http::serve(doors, router, token.clone());
        let mail = async {
            match mail {
                Some(mail) => smtp::serve(mail, self, token.clone()).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(pages, mail).map(|((), ())| ())
    }
}
