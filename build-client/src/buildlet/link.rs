//! What the clones of one client share: connections, credentials, the buildlet's life.

use std::sync::Arc;

use build_core::buildlet::{ExecReport, Route, Status, Wire};

use super::connections::Connections;
use super::exchange::{self, Reply, Request};
use super::heart::Heart;
use super::{LONGEST_ANSWER, parse_json, requests};
use crate::transport::Dial;
use crate::{Error, ErrorKind, Result, Timeouts};

pub(super) struct Link {
    name: String,
    connections: Arc<Connections>,
    authorization: Option<String>,
    /// What every request carries besides.
    fields: Vec<(String, String)>,
    timeouts: Timeouts,
    heart: Heart,
}

impl Link {
    pub(super) fn new(
        dial: Arc<dyn Dial>,
        name: String,
        authorization: Option<String>,
        fields: Vec<(String, String)>,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            connections: Arc::new(Connections::new(dial, timeouts.connect)),
            authorization,
            fields,
            heart: Heart::new(name.clone(), timeouts),
            name,
            timeouts,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn heart(&self) -> &Heart {
        &self.heart
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The request with a limit on the wait for the head of its reply.
    pub(super) fn limited(&self, mut request: Request) -> Request {
        request.limit = Some(self.timeouts.headers);
        request
    }

    /// Sends a request; the reply has status 200. Ends early when the buildlet dies.
    pub(super) async fn ask(&self, request: Request) -> Result<Reply> {
        self.alive(self.ask_unguarded(request)).await
    }

    /// As [`Link::ask`], with the whole body.
    pub(super) async fn ask_for_bytes(&self, request: Request, limit: usize) -> Result<Vec<u8>> {
        let asked = async { self.ask_unguarded(request).await?.bytes(limit).await };
        self.alive(asked)
            .await
            .map_err(|error| error.while_doing(self.name.clone()))
    }

    /// The state of a detached command, as the answer to `request` tells it.
    pub(super) async fn exec_report(&self, request: Request) -> Result<ExecReport> {
        parse_json(
            &self
                .ask_for_bytes(self.limited(request), LONGEST_ANSWER)
                .await?,
        )
    }

    pub(super) async fn status(&self) -> Result<Status> {
        self.alive(self.ask_status()).await
    }

    /// Completes when the buildlet is dead.
    pub(super) async fn until_dead(&self) -> Error {
        self.heart
            .until_dead(|| async { self.ask_status().await.map(drop) })
            .await
    }

    pub(super) fn give_up(&self, cause: Error) {
        self.heart.stop(cause);
        self.connections.close_idle();
    }

    pub(super) async fn close(&self) -> Result<()> {
        if self.heart.is_dead() {
            return Ok(());
        }
        let mut request = requests::halt();
        request.limit = Some(self.timeouts.close);
        let asked = self.ask_unguarded(request).await;
        self.give_up(Error::new(ErrorKind::Canceled, "closed"));
        // A buildlet that is gone already has nothing left to close.
        match asked {
            Err(error) if error.kind().is_retryable() => {
                tracing::debug!(buildlet = %self.name, error = %error.chain(), "close: no answer");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// A connection that is nobody else's.
    pub(super) async fn connect(&self) -> Result<Wire> {
        self.heart.check()?;
        let io = self.connections.dial_one().await.map_err(|error| {
            let text = format!("connect to {}", self.connections.dial().authority());
            Error::caused_by(ErrorKind::Unavailable, text, error).while_doing(self.name.clone())
        })?;
        let authority = self.connections.dial().authority();
        let authorization = self.authorization.clone();
        let authorization = authorization.map(|value| ("Authorization".to_owned(), value));
        let fields = authorization.into_iter().chain(self.fields.clone());
        Ok(Wire::new(io, authority, fields.collect()))
    }

    async fn alive<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.heart.check()?;
        tokio::select! {
            biased;
            result = call => result,
            death = self.until_dead() => Err(death),
        }
    }

    async fn ask_status(&self) -> Result<Status> {
        let request = self.limited(requests::get(Route::Status));
        let asked = async {
            self.ask_unguarded(request)
                .await?
                .bytes(LONGEST_ANSWER)
                .await
        };
        // The limit on the head alone would let a body that stalls pass for life.
        let answered = tokio::time::timeout(self.timeouts.headers, asked).await;
        parse_json(
            &answered
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, "no status in time")))?,
        )
    }

    async fn ask_unguarded(&self, mut request: Request) -> Result<Reply> {
        let headers = request.head.headers_mut();
        headers.set("Host", self.connections.dial().authority());
        if let Some(authorization) = &self.authorization {
            headers.set("Authorization", authorization);
        }
        for (name, value) in &self.fields {
            headers.set(name, value);
        }
        let sent = exchange::send(&self.connections, request).await;
        if self.connections.is_gone() {
            self.heart.stop(Error::new(
                ErrorKind::Unavailable,
                "nobody answers at its place any more",
            ));
        }
        sent.map_err(|error| error.while_doing(self.name.clone()))?
            .expect_ok()
            .await
    }
}
