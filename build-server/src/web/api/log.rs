//! What a build printed: from any byte on, and on while it prints.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use build_core::buildlet::ByteStream;
use build_core::event::Seq;
use build_core::ids::{BuildId, StepName};
use build_core::report::LogQuery;
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, stream};

use super::input::{Id, Params};
use super::public;
use crate::coordinator::{EventStream, Handle};
use crate::record::Run;
use crate::web::{Looking, Refusal};

fn accepts(which: &LogQuery, run: &Run) -> bool {
    which.step.as_ref().is_none_or(|s| *s == run.unit.step)
        && which.part.is_none_or(|p| p.0 == run.unit.part)
        && which.attempt.is_none_or(|n| n == run.attempt)
}

/// The output of the chosen runs of a build, one after the other in the order they were started,
/// from byte `offset` of all of it on.
pub(super) async fn log(
    Looking(site): Looking,
    Id(id): Id,
    Params(which): Params<LogQuery>,
) -> Result<Response, Refusal> {
    let row = public::find(&site, &id).await?;
    if let Some(step) = which.step.as_ref().filter(|s| !row.steps.contains(s)) {
        let names: Vec<_> = row.steps.iter().map(StepName::as_str).collect();
        return Err(Refusal::new(
            ErrorKind::NotFound,
            format!("build {id} has no step {step}"),
            format!("its steps: {}", names.join(", ")),
        ));
    }
    let text = (
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    // Proxies that collect an answer before they pass it on would hide what is live.
    let unbuffered = (
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    let mut output = Output::new(site.handle().clone(), id, which);
    output.begin().await?;
    let output = output.stream();
    Ok(([text, unbuffered], Body::from_stream(output)).into_response())
}

/// The output of one run after the other.
struct Output {
    handle: Handle,
    build: BuildId,
    which: LogQuery,
    /// Bytes that are still passed over.
    skip: u64,
    /// Runs of the row that were looked at.
    looked_at: usize,
    current: Option<ByteStream>,
    /// Wakes us when something happens to the build.
    events: EventStream,
}

impl Output {
    fn new(handle: Handle, build: BuildId, which: LogQuery) -> Self {
        let events = handle.events(&build, Seq(0));
        Self {
            handle,
            build,
            skip: which.offset,
            which,
            looked_at: 0,
            current: None,
            events,
        }
    }

    /// Opens the first of the output, so that a log which is not kept any more is told as such.
    async fn begin(&mut self) -> Result<()> {
        while self.current.is_none()
            && let Some(run) = self.next_run().await?
        {
            self.current = self.open(&run).await?;
        }
        Ok(())
    }

    fn stream(self) -> ByteStream {
        stream::try_unfold(self, Self::step).boxed()
    }

    async fn step(mut self) -> Result<Option<(bytes::Bytes, Self)>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(piece) = current.next().await {
                    return Ok(Some((piece?, self)));
                }
                self.current = None;
            }
            match self.next_run().await? {
                Some(run) => self.current = self.open(&run).await?,
                None if !self.which.follow => return Ok(None),
                // The events end when the build has.
                None => match self.events.next().await {
                    Some(event) => drop(event?),
                    None => match self.next_run().await? {
                        Some(run) => self.current = self.open(&run).await?,
                        None => return Ok(None),
                    },
                },
            }
        }
    }

    async fn next_run(&mut self) -> Result<Option<Run>> {
        let row = self.handle.records().build(&self.build).await?;
        let runs = row.map(|row| row.runs).unwrap_or_default();
        for run in runs.into_iter().skip(self.looked_at) {
            self.looked_at += 1;
            if accepts(&self.which, &run) {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    async fn open(&mut self, run: &Run) -> Result<Option<ByteStream>> {
        let has_ended = run.end.is_some();
        if has_ended && run.output_bytes <= self.skip {
            self.skip -= run.output_bytes;
            return Ok(None);
        }
        let offset = std::mem::take(&mut self.skip);
        let (unit, attempt) = (&run.unit, Some(run.attempt));
        let opened = self
            .handle
            .log(&self.build, unit, attempt, offset, self.which.follow)
            .await;
        match opened {
            Ok(log) => Ok(Some(log)),
            // Started, and nothing was printed yet.
            Err(error) if error.kind() == ErrorKind::NotFound && !has_ended => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(gone(&self.build)),
            Err(error) => Err(error),
        }
    }
}

fn gone(build: &BuildId) -> Error {
    let text = format!("the log of build {build} is not kept any more");
    Error::new(ErrorKind::NotFound, text).with_hint("keep logs longer with: farmer up --keep-logs")
}
