//! Commands: their output as it comes, over as many connections as it takes.

use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::{Exec, ExecEvent, ExecOutcome, ExecStatus, ExecStream, Program};
use build_core::ids::ExecId;
use futures::stream;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Request, Status, Streaming};

use super::super::protos::{ExecuteCommandRequest, ExecuteCommandResponse};
use super::calls::{Calls, SHORT, failed, is_cut, outcome};
use super::metadata;
use crate::{Error, ErrorKind, Result, Timeouts};

/// The first pause before a lost stream is attached again; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Until a command has begun: the machine may have to be found again first.
const BEGIN: Duration = Duration::from_secs(90);
/// A connection that has lasted so long was a good one.
const STABLE: Duration = Duration::from_secs(10);
/// So many signs of life missed in a row show that the connection is dead.
const MISSES: u32 = 2;
/// An empty `PATH`: an empty list is the same as none.
const NO_PATH: &str = "$EMPTY";

type Answers = Streaming<ExecuteCommandResponse>;

/// A command as the service takes it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for what it does not carry.
pub(super) fn request(name: &str, exec: &Exec) -> Result<ExecuteCommandRequest> {
    let carried = Exec {
        cmd: exec.cmd.clone(),
        args: exec.args.clone(),
        lookup: exec.lookup,
        dir: exec.dir.clone(),
        env: exec.env.clone(),
        path: exec.path.clone(),
        debug: exec.debug,
        id: exec.id.clone(),
        ..Exec::default()
    };
    if carried != *exec {
        let text = "this interface of the farm carries no limits of a command";
        return Err(Error::new(ErrorKind::Unsupported, text)
            .with_hint("ask the farm by its interface of 2020: gomote -api http"));
    }
    Ok(ExecuteCommandRequest {
        gomote_id: name.to_owned(),
        command: carried.cmd,
        system_level: carried.lookup == Program::OfSystem,
        debug: carried.debug,
        append_environment: carried.env,
        path: match carried.path {
            Some(path) if path.is_empty() => vec![NO_PATH.to_owned()],
            path => path.unwrap_or_default(),
        },
        directory: carried.dir,
        args: carried.args,
        imitate_host_type: String::new(),
    })
}

/// A call of the service, and what is done in it with a command that has a name.
fn verb(
    calls: &Calls,
    asked: ExecuteCommandRequest,
    verb: &'static str,
    id: &ExecId,
    offset: u64,
) -> Result<Request<ExecuteCommandRequest>> {
    let mut request = calls.ask(asked, None)?;
    let told = request.metadata_mut();
    told.insert(
        metadata::EXEC,
        tonic::metadata::MetadataValue::from_static(verb),
    );
    let name = id.as_str().parse();
    let name = name.map_err(|_| Error::new(ErrorKind::Invalid, format!("bad id {id}")))?;
    told.insert(metadata::EXEC_ID, name);
    told.insert(metadata::EXEC_OFFSET, offset.into());
    Ok(request)
}

async fn begin(calls: &Calls, request: Request<ExecuteCommandRequest>) -> Result<Answers, Status> {
    let told = |error: Error| Status::invalid_argument(error.chain());
    let mut client = calls.client().map_err(told)?;
    let named = request.metadata().get(metadata::EXEC).cloned();
    let begun = timeout(BEGIN, client.execute_command(request)).await;
    let begun = begun.map_err(|_| Status::unavailable("no answer in time"))??;
    let is_understood = named.is_none() || begun.metadata().get(metadata::EXEC) == named.as_ref();
    let mut answers = begun.into_inner();
    if is_understood {
        return Ok(answers);
    }
    // A refusal may come behind the head of an answer.
    match timeout(SHORT, answers.message()).await {
        Ok(Err(status)) => Err(status),
        _ => Err(Status::unimplemented(
            "the server does not know commands that go on by themselves",
        )),
    }
}

fn what(name: &str) -> String {
    format!("run a command on {name}")
}

/// Runs a command; it ends when the stream is dropped.
pub(super) async fn stream(
    calls: Arc<Calls>,
    timeouts: Timeouts,
    name: String,
    exec: &Exec,
) -> Result<ExecStream> {
    let asked = calls.ask(request(&name, exec)?, None)?;
    let answers = begin(&calls, asked).await;
    let answers = answers.map_err(|status| failed(&what(&name), &status))?;
    Ok(follow(Following {
        answers,
        resumed: None,
        watched: Watched::new(calls, name, timeouts, timeouts.misses),
    }))
}

/// Starts a command that goes on by itself; `verb` may also ask for its status.
pub(super) async fn status(
    calls: &Calls,
    name: &str,
    asked: ExecuteCommandRequest,
    named: &'static str,
    id: &ExecId,
) -> Result<ExecStatus> {
    let asked = verb(calls, asked, named, id, 0)?;
    let failed = |status: Status| failed(&what(name), &status);
    let mut answers = begin(calls, asked).await.map_err(failed)?;
    let answer = timeout(SHORT, answers.message()).await;
    let answer = answer.map_err(|_| Error::new(ErrorKind::TimedOut, what(name)))?;
    let answer = answer.map_err(failed)?.unwrap_or_default();
    serde_json::from_slice(&answer.output)
        .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read the status of a command", e))
}

pub(super) async fn kill(calls: &Calls, name: &str, id: &ExecId) -> Result<()> {
    let asked = verb(calls, of(name), metadata::KILL, id, 0)?;
    let failed = |status: Status| failed(&format!("end a command on {name}"), &status);
    let mut answers = begin(calls, asked).await.map_err(failed)?;
    let ended = timeout(SHORT, answers.message()).await;
    let ended = ended.map_err(|_| Error::new(ErrorKind::TimedOut, what(name)))?;
    ended.map(drop).map_err(failed)
}

/// A message that names the machine alone.
pub(super) fn of(name: &str) -> ExecuteCommandRequest {
    ExecuteCommandRequest {
        gomote_id: name.to_owned(),
        ..Default::default()
    }
}

/// The output of a started command from a byte on; the first connection must succeed.
pub(super) async fn attach(
    calls: Arc<Calls>,
    timeouts: Timeouts,
    name: String,
    id: ExecId,
    offset: u64,
) -> Result<ExecStream> {
    let asked = verb(&calls, of(&name), metadata::ATTACH, &id, offset)?;
    let answers = begin(&calls, asked).await;
    let answers = answers.map_err(|status| failed(&what(&name), &status))?;
    Ok(follow(Following {
        answers,
        resumed: Some(Resumed {
            id,
            offset,
            trouble: Instant::now(),
            connected: Instant::now(),
            pause: FIRST_PAUSE,
        }),
        watched: Watched::new(calls, name, timeouts, MISSES),
    }))
}

/// Asks for signs of life while nothing is said: they keep the machine, and show that the
/// connection is dead when there are none.
struct Watched {
    calls: Arc<Calls>,
    name: String,
    timeouts: Timeouts,
    most: u32,
    missed: u32,
}

impl Watched {
    fn new(calls: Arc<Calls>, name: String, timeouts: Timeouts, most: u32) -> Self {
        Self {
            calls,
            name,
            timeouts,
            most,
            missed: 0,
        }
    }

    /// Completes when the machine is gone, or nobody answers.
    ///
    /// # Cancel safety
    /// The count of missed signs is kept.
    async fn lost(&mut self) -> Status {
        loop {
            sleep(self.timeouts.beat).await;
            let limit = self.timeouts.headers;
            let asked = timeout(limit * 2, self.calls.alive(&self.name, limit)).await;
            let status = match asked {
                Ok(Ok(_)) => {
                    self.missed = 0;
                    continue;
                }
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no sign of life"),
            };
            if !is_cut(&status) && status.code() != Code::DeadlineExceeded {
                return status;
            }
            self.missed += 1;
            if self.missed >= self.most {
                return Status::unavailable("the server does not answer any more");
            }
        }
    }
}

/// What a stream knows that goes on over another connection.
struct Resumed {
    id: ExecId,
    /// The next byte to be given.
    offset: u64,
    /// Since when no connection was good: it is given up some time after.
    trouble: Instant,
    /// Since when there is the one there is.
    connected: Instant,
    pause: Duration,
}

struct Following {
    answers: Answers,
    resumed: Option<Resumed>,
    watched: Watched,
}

fn follow(following: Following) -> ExecStream {
    let next = |following: Option<Following>| async {
        let mut following = following?;
        let event = following.next().await;
        let more = matches!(event, Ok(ExecEvent::Output(_)));
        Some((event, more.then_some(following)))
    };
    Box::pin(stream::unfold(Some(following), next))
}

impl Following {
    async fn next(&mut self) -> Result<ExecEvent> {
        loop {
            let said = tokio::select! {
                biased;
                said = self.answers.message() => said,
                status = self.watched.lost() => Err(status),
            };
            self.watched.missed = 0;
            let status = match said {
                Ok(Some(answer)) if answer.output.is_empty() => continue,
                Ok(Some(answer)) => return Ok(self.output(answer.output)),
                Ok(None) => return Ok(ExecEvent::Ended(ExecOutcome::Ok)),
                Err(status) => status,
            };
            if let Some(outcome) = outcome(&status) {
                return Ok(ExecEvent::Ended(outcome));
            }
            match &mut self.resumed {
                Some(resumed) if is_cut(&status) => {
                    self.answers = resumed.again(&self.watched, status).await?;
                }
                _ => return Err(failed(&what(&self.watched.name), &status)),
            }
        }
    }

    fn output(&mut self, bytes: Vec<u8>) -> ExecEvent {
        if let Some(resumed) = &mut self.resumed {
            resumed.offset += bytes.len() as u64;
            resumed.trouble = Instant::now();
            resumed.pause = FIRST_PAUSE;
        }
        ExecEvent::Output(bytes.into())
    }
}

impl Resumed {
    /// Connects again at the same byte, trying for a while.
    async fn again(&mut self, watched: &Watched, mut status: Status) -> Result<Answers> {
        let what = || format!("attach to {} again", self.id);
        if self.connected.elapsed() >= STABLE {
            self.trouble = Instant::now();
        }
        while self.trouble.elapsed() <= watched.timeouts.reattach {
            tracing::debug!(exec = %self.id, self.offset, %status, "attaching again");
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            watched.calls.forget_connection();
            let of = of(&watched.name);
            let asked = verb(&watched.calls, of, metadata::ATTACH, &self.id, self.offset)?;
            match begin(&watched.calls, asked).await {
                Ok(answers) => {
                    self.connected = Instant::now();
                    return Ok(answers);
                }
                Err(failed) if is_cut(&failed) => status = failed,
                Err(refused) => return Err(failed(&what(), &refused)),
            }
        }
        Err(failed(&what(), &status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_carried_whole_or_not_at_all() {
        let mut exec = Exec::shell("true").dir("src").env("A", "b");
        exec.path = Some(Vec::new());
        let asked = request("m", &exec).unwrap();
        assert_eq!(asked.path, [NO_PATH]);
        assert!(asked.system_level && asked.args == ["-c", "true"]);
        assert_eq!(
            (
                asked.directory.as_str(),
                asked.append_environment.as_slice()
            ),
            ("src", &["A=b".to_owned()][..])
        );
        exec.path = None;
        assert!(request("m", &exec).unwrap().path.is_empty());
        exec.timeout = Some(Duration::from_secs(1));
        let error = request("m", &exec).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
