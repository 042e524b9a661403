//! Where traces go: OTLP over HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::event::{Recorded, StreamId, Version};
use build_core::ids::BuildId;
use build_core::reader::Call;
use build_core::{Error, ErrorKind, Result};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::sync::Mutex;

use super::{Ended, spans};
use crate::readers::{Made, Sink};
use crate::store::EventLog;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Spans in one request: a build may have thousands.
const SPANS: usize = 512;
/// Events that are read at once.
const EVENTS: usize = 1_024;
/// An answer is a few bytes.
const ANSWER: usize = 64 << 10;

/// A collector of traces that speaks OTLP over HTTP, in protocol buffers.
pub struct Collector {
    /// One request at a time is the exporter's rule.
    exporter: Mutex<SpanExporter>,
    /// Where the farm is opened, for links.
    farm: String,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    /// The collector at `url`, such as `http://localhost:4318`: an address without a path means
    /// `/v1/traces` there. Links in traces lead to pages below `farm`. Headers for the collector,
    /// such as a key, come from `OTEL_EXPORTER_OTLP_HEADERS`, as they do for every program that
    /// speaks OTLP.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when `url` is no address.
    pub fn new(url: &str, farm: impl Into<String>) -> Result<Self> {
        let bad = |why: String| {
            Error::new(
                ErrorKind::Invalid,
                format!("bad address of a collector: {why}"),
            )
            .with_hint("write it like http://localhost:4318")
        };
        let mut at = reqwest::Url::parse(url).map_err(|e| bad(e.to_string()))?;
        if !matches!(at.scheme(), "http" | "https") {
            return Err(bad(
                "it begins neither with https:// nor with http://".into()
            ));
        }
        if !at.username().is_empty() || at.password().is_some() {
            let why = "it holds a name or a password; headers come from OTEL_EXPORTER_OTLP_HEADERS";
            return Err(bad(why.into()));
        }
        if at.path() == "/" {
            at.set_path("/v1/traces");
        }
        let builder = build_client::rest::builder(None)?.timeout(PATIENCE);
        let client = builder
            .build()
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "setting up the HTTP client", e))?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client(client))
            .with_endpoint(at.as_str())
            .with_timeout(PATIENCE)
            // The outbox tries again, over restarts too.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|e| bad(e.to_string()))?;
        exporter.set_resource(&spans::resource());
        Ok(Self {
            exporter: Mutex::new(exporter),
            farm: farm.into(),
        })
    }

    pub(super) fn reading(self, events: Arc<dyn EventLog>) -> impl Sink {
        Sends {
            collector: self,
            events,
        }
    }
}

struct Sends {
    collector: Collector,
    events: Arc<dyn EventLog>,
}

impl Sends {
    async fn events(&self, build: &BuildId) -> Result<Vec<Recorded>> {
        let stream = StreamId::from(build);
        let (mut all, mut after) = (Vec::new(), Version::default());
        loop {
            let page = self.events.read_stream(&stream, after, EVENTS).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.version;
            all.extend(page);
        }
    }
}

#[async_trait]
impl Sink for Sends {
    fn deadline(&self) -> Duration {
        Duration::from_secs(120)
    }

    async fn make(&self, call: &Call) -> Made {
        let ended: Ended = match serde_json::from_str(call.effect.body.get()) {
            Ok(ended) => ended,
            Err(error) => return Made::Never(format!("read which build has ended: {error}")),
        };
        let events = match self.events(&ended.build).await {
            Ok(events) => events,
            Err(error) => return error.into(),
        };
        let spans = spans::of(&ended.build, &events, &self.collector.farm);
        let exporter = self.collector.exporter.lock().await;
        for spans in spans.chunks(SPANS) {
            if let Err(error) = exporter.export(spans.to_vec()).await {
                return Made::No(
                    format!("send the trace of build {}: {error}", ended.build).into(),
                );
            }
        }
        Made::Yes
    }
}

/// The client of the farm's other requests, for the exporter.
#[derive(Debug)]
struct Client(reqwest::Client);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(
        &self,
        request: Request<Bytes>,
    ) -> std::result::Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await? {
            if body.len() + piece.len() > ANSWER {
                return Err(format!("an answer of more than {ANSWER} bytes").into());
            }
            body.extend_from_slice(&piece);
        }
        *response.body_mut() = body.into();
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_looked_at_before_anything_runs() {
        assert!(Collector::new("http://localhost:4318", "").is_ok());
        for (bad, why) in [
            ("localhost", "relative URL"),
            ("ftp://localhost", "neither"),
            ("https://me:secret@localhost", "OTEL_EXPORTER_OTLP_HEADERS"),
        ] {
            let error = Collector::new(bad, "").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
