//! `/buildlet/create` and `/buildlet/list`.

use std::time::Duration;

use build_core::buildlet::{COORDINATOR_VERSION, Params, header};
use build_core::h1::io::{Body as _, ResponseWriter};
use build_core::h1::{BodySize, Headers, ResponseHead};
use build_core::{Error, ErrorKind};
use serde::Serialize;
use tokio::time::{Instant, interval_at, timeout};

use super::dialect::{Gomote, Lost, Refusal, Request, refuse, respond};
use super::instance::{Instance, Record};
use super::sessions::Creating;
use super::user::User;
use crate::front::Stream;

/// The oldest client that is served, as in 2020. Versions are compared as texts.
const OLDEST: &str = "20160922";
/// Between two lines about the wait.
const STATUS: Duration = Duration::from_secs(5);
/// Until somebody who waits is told why for the first time.
const FIRST_STATUS: Duration = Duration::from_millis(300);
const MAX_FORM: u64 = 64 << 10;
const FORM_TIME: Duration = Duration::from_secs(30);

/// A line of the answer.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line<'a> {
    Status(Status),
    Error(String),
    Buildlet(Record<'a>),
}

#[derive(Serialize)]
pub(super) struct Status {
    message: String,
    ahead: usize,
}

impl Line<'_> {
    fn text(&self) -> Result<String, Lost> {
        // Texts and numbers have a form in JSON.
        let text = serde_json::to_string(self).map_err(|_| Lost)?;
        Ok(text + "\n")
    }
}

pub(super) async fn list(gomote: &Gomote, request: Request<'_>, caller: &User) -> Result<(), Lost> {
    if request.head().method() != "GET" {
        return refuse(request, Refusal::bad("GET required")).await;
    }
    let instances = gomote.sessions().list(caller);
    let records: Vec<Record<'_>> = instances.iter().map(|one| one.record()).collect();
    let text = serde_json::to_string_pretty(&records).map_err(|_| Lost)?;
    let head = ResponseHead::new(200).with("Content-Type", header::JSON_TYPE);
    respond(request, head, &(text + "\n")).await
}

pub(super) async fn create(
    gomote: &Gomote,
    mut request: Request<'_>,
    caller: &User,
) -> Result<(), Lost> {
    let wish = match read(&mut request).await {
        Ok(wish) => wish,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let streams = wish.version.as_str() >= COORDINATOR_VERSION;
    let creating = match gomote.sessions().create(caller, &wish.builder, true).await {
        Ok(creating) => creating,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = "unknown builder type in 'builderType' parameter";
            return answer(
                request,
                400,
                "text/plain; charset=utf-8",
                &format!("{text}\n"),
            )
            .await;
        }
        Err(error) if streams => {
            let line = Line::Error(said(&error)).text()?;
            return answer(request, 200, header::JSON_TYPE, &line).await;
        }
        Err(error) => return refused(request, &error).await,
    };
    match streams {
        true => stream(request, creating).await,
        false => whole(request, creating).await,
    }
}

struct Wish {
    version: String,
    builder: String,
}

async fn read(request: &mut Request<'_>) -> Result<Wish, Refusal> {
    let params = form(request).await?;
    let text = |name| params.get(name).unwrap_or_default().to_owned();
    let (version, builder) = (text("version"), text("builderType"));
    if version.as_str() < OLDEST {
        return Err(Refusal::bad(format!(
            "gomote client version {version:?} is too old; predates server minimum version {OLDEST:?}"
        )));
    }
    match builder.is_empty() {
        true => Err(Refusal::bad("missing 'builderType' parameter")),
        false => Ok(Wish { version, builder }),
    }
}

/// The form of a request that asks for a machine.
pub(super) async fn form(request: &mut Request<'_>) -> Result<Params, Refusal> {
    if request.head().method() != "POST" {
        return Err(Refusal::bad("POST required"));
    }
    let body = timeout(FORM_TIME, request.read_all(MAX_FORM)).await;
    let body = body.map_err(|_| Refusal::new(408, "the form did not arrive"))?;
    let body = body.map_err(|error| Refusal::bad(format!("bad form: {error}")))?;
    let params = Params::parse(request.head().query(), &body);
    params.map_err(|error| Refusal::bad(error.to_string()))
}

/// What failed, and what to do about it.
pub(super) fn said(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{}: {hint}", error.chain()),
        None => error.chain(),
    }
}

pub(super) fn head(status: u16, kind: &str) -> ResponseHead {
    ResponseHead::new(status)
        .with(header::SUPPORTED_VERSION, COORDINATOR_VERSION)
        .with("Content-Type", kind)
        .with("X-Content-Type-Options", "nosniff")
}

async fn answer(request: Request<'_>, status: u16, kind: &str, body: &str) -> Result<(), Lost> {
    respond(request, head(status, kind), body).await
}

async fn refused(request: Request<'_>, error: &Error) -> Result<(), Lost> {
    let text = said(error) + "\n";
    answer(request, 500, "text/plain; charset=utf-8", &text).await
}

/// The answer of older clients: nothing until there is all.
async fn whole(mut request: Request<'_>, creating: Creating) -> Result<(), Lost> {
    let ready = tokio::select! {
        ready = creating.ready() => ready,
        () = request.closed() => return Err(Lost),
    };
    match ready {
        Ok(instance) => {
            let text = serde_json::to_string(&instance.record()).map_err(|_| Lost)?;
            answer(request, 200, header::JSON_TYPE, &(text + "\n")).await
        }
        Err(error) => refused(request, &error).await,
    }
}

/// A line every now and then about the wait, and a last one.
async fn stream(request: Request<'_>, creating: Creating) -> Result<(), Lost> {
    let begun = request.start(head(200, header::JSON_TYPE), BodySize::Unknown);
    let mut writer = begun.await.map_err(|_| Lost)?;
    match wait(&mut writer, creating).await? {
        Ok(instance) => end(writer, &Line::Buildlet(instance.record())).await,
        Err(error) => end(writer, &Line::Error(said(&error))).await,
    }
}

/// Waits for the machine, with a line every now and then.
pub(super) async fn wait(
    writer: &mut ResponseWriter<'_, Stream>,
    creating: Creating,
) -> Result<build_core::Result<Instance>, Lost> {
    let watcher = creating.watcher();
    let ready = creating.ready();
    tokio::pin!(ready);
    let mut rounds = interval_at(Instant::now() + FIRST_STATUS, STATUS);
    let mut is_first = true;
    loop {
        tokio::select! {
            ready = &mut ready => return Ok(ready),
            // Who has gone away waits no longer.
            () = writer.closed() => return Err(Lost),
            _ = rounds.tick() => {
                let waiting = watcher.look().await;
                let message = if is_first { waiting.why } else { String::new() };
                is_first = false;
                let status = Status { message, ahead: waiting.ahead };
                send(writer, &Line::Status(status)).await?;
            }
        }
    }
}

/// Sends the last line.
pub(super) async fn end(
    mut writer: ResponseWriter<'_, Stream>,
    line: &Line<'_>,
) -> Result<(), Lost> {
    send(&mut writer, line).await?;
    writer.finish(&Headers::new()).await.map_err(|_| Lost)
}

async fn send(writer: &mut ResponseWriter<'_, Stream>, line: &Line<'_>) -> Result<(), Lost> {
    let text = line.text()?;
    writer.write(text.as_bytes()).await.map_err(|_| Lost)
}
