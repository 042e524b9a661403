//! Commands: their output as it comes, and how they end as the status of the call.

use build_core::buildlet::{Buildlet as _, Exec, ExecEvent, ExecOutcome, ExecStream, Program};
use build_core::ids::BuilderName;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::unfold;
use tonic::Status;

use super::super::protos::{ExecuteCommandRequest, ExecuteCommandResponse};
use super::super::sessions::Use;
use super::admit::failed;
use super::detached::refused;
use super::{Answers, Asking, GomoteService};

/// Bytes of output in one answer: clients take 4 MiB.
const PIECE: usize = 256 << 10;
pub(super) const CANNOT: &str = "unable to execute command";

/// A command that runs. Dropped, it is ended, as when its connection breaks, unless it was started
/// to go on by itself.
struct Running {
    session: Use,
    events: ExecStream,
    goes_on: bool,
    /// Output that did not fit into the answer before.
    left: Bytes,
    is_over: bool,
}

pub(super) async fn run(
    service: &GomoteService,
    who: &Asking,
    asked: ExecuteCommandRequest,
) -> Result<Answers<ExecuteCommandResponse>, Status> {
    let session = service.find(who, &asked.gomote_id).await?;
    let exec = command(service, &session, asked)?;
    let events = match session.session().stream(exec).await {
        Ok(events) => events,
        Err(error) => return Err(failed(&session, CANNOT, error).await),
    };
    Ok(answers(session, events, false))
}

/// The output of a command as the answers of a call, and how it ended as its status.
/// `goes_on`: what is lost on the way can be asked for again.
pub(super) fn answers(
    session: Use,
    events: ExecStream,
    goes_on: bool,
) -> Answers<ExecuteCommandResponse> {
    let running = Running {
        session,
        events,
        goes_on,
        left: Bytes::new(),
        is_over: false,
    };
    Box::pin(unfold(running, go_on))
}

/// What is to be run: in the environment of the builder whose machine it is, or of another one
/// on the same kind of machine.
pub(super) fn command(
    service: &GomoteService,
    session: &Use,
    asked: ExecuteCommandRequest,
) -> Result<Exec, Status> {
    if asked.command.is_empty() {
        return Err(Status::invalid_argument("missing command"));
    }
    let bad = |line: &&String| line.split_once('=').is_none_or(|(name, _)| name.is_empty());
    if let Some(line) = asked.append_environment.iter().find(bad) {
        let text = format!("bad environment: {line:?} is not NAME=value");
        return Err(Status::invalid_argument(text));
    }
    let mut env = builder_env(service, session, &asked.imitate_host_type)?;
    env.extend(asked.append_environment);
    Ok(Exec {
        cmd: asked.command,
        args: asked.args,
        lookup: match asked.system_level {
            true => Program::OfSystem,
            false => Program::InWorkDir,
        },
        dir: asked.directory,
        env,
        // No elements cannot be told from no list: an empty PATH is the element $EMPTY.
        path: (!asked.path.is_empty()).then_some(asked.path),
        debug: asked.debug,
        ..Exec::default()
    })
}

fn builder_env(
    service: &GomoteService,
    session: &Use,
    imitated: &str,
) -> Result<Vec<String>, Status> {
    let handle = service.0.gomote.sessions().handle();
    let instance = session.instance();
    let builder = match imitated {
        "" => handle.builder(&instance.builder),
        name => {
            let name = BuilderName::new(name).ok();
            let builder = name.and_then(|name| handle.builder(&name));
            let builder =
                builder.ok_or_else(|| Status::invalid_argument("unknown builder type"))?;
            if builder.host_type != instance.host_type {
                let text = format!(
                    "{} needs a machine of kind {}, and {} is one of kind {}",
                    builder.name, builder.host_type, instance.name, instance.host_type
                );
                return Err(Status::invalid_argument(text));
            }
            Some(builder)
        }
    };
    let env = builder.iter().flat_map(|builder| &builder.env);
    Ok(env.map(|(name, value)| format!("{name}={value}")).collect())
}

type Answer = Result<ExecuteCommandResponse, Status>;

async fn go_on(mut running: Running) -> Option<(Answer, Running)> {
    if running.is_over {
        return None;
    }
    loop {
        if !running.left.is_empty() {
            let piece = running.left.len().min(PIECE);
            let output = running.left.split_to(piece).to_vec();
            return Some((Ok(ExecuteCommandResponse { output }), running));
        }
        let status = match running.events.next().await {
            Some(Ok(ExecEvent::Output(bytes))) => {
                running.left = bytes;
                continue;
            }
            Some(Ok(ExecEvent::Ended(ExecOutcome::Ok))) => return None,
            Some(Ok(ExecEvent::Ended(outcome @ ExecOutcome::Lost))) => {
                Status::aborted(format!("{CANNOT}: its end is not known: {outcome}"))
            }
            Some(Ok(ExecEvent::Ended(outcome))) => {
                Status::unknown(format!("command execution failed: {outcome}"))
            }
            Some(Err(error)) if running.goes_on => refused(&running.session, error).await,
            Some(Err(error)) => failed(&running.session, CANNOT, error).await,
            None if running.goes_on => Status::unavailable("the output was cut off"),
            None => Status::aborted(format!("{CANNOT}: its output ended without its end")),
        };
        running.is_over = true;
        return Some((Err(status), running));
    }
}
