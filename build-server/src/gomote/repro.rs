//! `POST /buildlet/repro` (ours): a machine in the state in which a build failed.
//!
//! The form names a `build`. The answer is that of `/buildlet/create`, with another last line:
//! `{"repro":{…}}` tells the session, what is to be run before, and what failed.

use build_core::buildlet::{Exec, Program, header};
use build_core::engine::{BuildState, Repro};
use build_core::event::{BuildEvent, Version};
use build_core::h1::{BodySize, Headers};
use build_core::ids::BuildId;
use build_core::plan::Unit;
use build_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::create::{self, Line};
use super::dialect::{Gomote, Lost, Refusal, Request, refuse};
use super::instance::Record;
use super::user::User;

/// The last line.
#[derive(Serialize)]
struct Last<'a> {
    repro: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    buildlet: Record<'a>,
    /// Where the machine works.
    work_dir: String,
    /// Directories that were put back, and those that the build had.
    caches: Vec<String>,
    caches_then: Vec<String>,
    before: Vec<Command<'a>>,
    failed: Command<'a>,
}

/// A command, as `gomote run` takes it.
#[derive(Serialize)]
struct Command<'a> {
    unit: String,
    cmd: &'a str,
    args: &'a [String],
    dir: &'a str,
    env: &'a [String],
    system: bool,
}

impl<'a> Command<'a> {
    fn of((unit, exec): &'a (Unit, Exec)) -> Self {
        Self {
            unit: unit.to_string(),
            cmd: &exec.cmd,
            args: &exec.args,
            dir: &exec.dir,
            env: &exec.env,
            system: exec.lookup == Program::OfSystem,
        }
    }
}

pub(super) async fn repro(
    gomote: &Gomote,
    mut request: Request<'_>,
    caller: &User,
) -> Result<(), Lost> {
    let wanted = async {
        let form = create::form(&mut request).await?;
        let id = form.get("build").unwrap_or_default();
        let id = BuildId::new(id).map_err(|error| Refusal::bad(error.to_string()))?;
        let found = find(gomote, &id).await;
        let (repro, then) = found.map_err(|error| {
            let status = match error.kind() {
                ErrorKind::NotFound => 404,
                ErrorKind::Conflict => 409,
                _ => 500,
            };
            Refusal::new(status, create::said(&error))
        })?;
        let builder = repro.builder.name.as_str();
        let creating = gomote.sessions().create(caller, builder, true).await;
        let creating = creating.map_err(|error| Refusal::new(500, create::said(&error)))?;
        Ok::<_, Refusal>((id, repro, then, creating))
    };
    let (id, repro, then, creating) = match wanted.await {
        Ok(wanted) => wanted,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let begun = request.start(create::head(200, header::JSON_TYPE), BodySize::Unknown);
    let mut writer = begun.await.map_err(|_| Lost)?;
    let instance = match create::wait(&mut writer, creating).await? {
        Ok(instance) => instance,
        Err(error) => return create::end(writer, &Line::Error(create::said(&error))).await,
    };
    let filled = async {
        let handle = gomote.sessions().handle();
        let caches = handle.fill_session(&instance.session, &id, &repro).await?;
        let session = gomote.sessions().find(caller, &instance.name).await;
        let session = session.map_err(|e| Error::new(ErrorKind::Unavailable, e.to_string()))?;
        use build_core::buildlet::Buildlet as _;
        Ok::<_, Error>((caches, session.session().work_dir().await?))
    };
    // Who leaves now has a machine that expires.
    let filled = tokio::select! {
        filled = filled => filled,
        () = writer.closed() => return Err(Lost),
    };
    let (caches, work_dir) = match filled {
        Ok(filled) => filled,
        Err(error) => return create::end(writer, &Line::Error(create::said(&error))).await,
    };
    let last = Last {
        repro: Told {
            buildlet: instance.record(),
            work_dir,
            caches,
            caches_then: then,
            before: repro.before.iter().map(Command::of).collect(),
            failed: Command::of(&repro.failed),
        },
    };
    let text = serde_json::to_string(&last).map_err(|_| Lost)? + "\n";
    writer.write(text.as_bytes()).await.map_err(|_| Lost)?;
    writer.finish(&Headers::new()).await.map_err(|_| Lost)
}

/// What the events of a build say of its failure, and which caches it had.
async fn find(gomote: &Gomote, id: &BuildId) -> Result<(Repro, Vec<String>)> {
    let handle = gomote.sessions().handle();
    let events = handle.ledger().events();
    let events = events
        .read_stream(&id.into(), Version(0), usize::MAX)
        .await?;
    let Some((first, rest)) = events.split_first() else {
        let text = format!("there is no build {id}");
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    let mut state = BuildState::new(first)?;
    let mut caches = Vec::new();
    for event in rest {
        state.apply(event)?;
        if let Some(BuildEvent::Prepared { cache_hits, .. }) = event.read() {
            caches.extend(cache_hits);
        }
    }
    caches.sort_unstable();
    caches.dedup();
    let builder = handle.builder(state.builder());
    Ok((Repro::of(&state, builder)?, caches))
}
