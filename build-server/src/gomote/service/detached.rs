//! Commands that go on when a call breaks: an extension for clients of ours, by metadata.

use build_client::gomote::metadata;
use build_core::buildlet::{Buildlet as _, ExecStatus};
use build_core::ids::ExecId;
use build_core::{Error, ErrorKind};
use futures::stream::{empty, once};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};

use super::super::protos::{ExecuteCommandRequest, ExecuteCommandResponse};
use super::super::sessions::Use;
use super::admit::failed;
use super::exec::{self, CANNOT};
use super::{Answers, Asking, GomoteService};
use crate::gomote::create::said;

/// What is to be done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Start,
    Attach(u64),
    Status,
    Kill,
}

/// A command that has a name, and what is to be done with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    id: ExecId,
    verb: Verb,
}

impl Named {
    /// What a call says; `None` for one that says nothing of it.
    pub(super) fn of(told: &MetadataMap) -> Result<Option<Self>, Status> {
        let one = |name: &str| {
            let mut values = told.get_all(name).iter();
            let value = values.next().and_then(|value| value.to_str().ok());
            value.filter(|_| values.next().is_none())
        };
        if !told.contains_key(metadata::EXEC) {
            return Ok(None);
        }
        let bad = |name: &str| Status::invalid_argument(format!("bad {name}"));
        let id = one(metadata::EXEC_ID).and_then(|id| ExecId::new(id).ok());
        let id = id.ok_or_else(|| bad(metadata::EXEC_ID))?;
        let verb = match one(metadata::EXEC) {
            Some(metadata::START) => Verb::Start,
            Some(metadata::ATTACH) => {
                let offset = one(metadata::EXEC_OFFSET).and_then(|text| text.parse().ok());
                Verb::Attach(offset.ok_or_else(|| bad(metadata::EXEC_OFFSET))?)
            }
            Some(metadata::STATUS) => Verb::Status,
            Some(metadata::KILL) => Verb::Kill,
            _ => return Err(bad(metadata::EXEC)),
        };
        Ok(Some(Self { id, verb }))
    }

    fn word(&self) -> &'static str {
        match self.verb {
            Verb::Start => metadata::START,
            Verb::Attach(_) => metadata::ATTACH,
            Verb::Status => metadata::STATUS,
            Verb::Kill => metadata::KILL,
        }
    }
}

type Answer = Response<Answers<ExecuteCommandResponse>>;

pub(super) async fn answer(
    service: &GomoteService,
    who: &Asking,
    named: Named,
    asked: ExecuteCommandRequest,
) -> Result<Answer, Status> {
    let session = service.find(who, &asked.gomote_id).await?;
    let word = MetadataValue::from_static(named.word());
    let answers = match named.verb {
        Verb::Start => {
            let exec = exec::command(service, &session, asked)?.id(named.id);
            let started = session.session().start(exec).await;
            told(&session, started).await?
        }
        Verb::Status => {
            let status = session.session().exec_status(&named.id).await;
            told(&session, status).await?
        }
        Verb::Attach(offset) => match session.session().attach(&named.id, offset).await {
            Ok(events) => exec::answers(session, events, true),
            Err(error) => return Err(refused(&session, error).await),
        },
        Verb::Kill => match session.session().kill(&named.id).await {
            Ok(()) => Box::pin(empty()),
            Err(error) => return Err(refused(&session, error).await),
        },
    };
    let mut answer = Response::new(answers);
    answer.metadata_mut().insert(metadata::EXEC, word);
    Ok(answer)
}

/// What is known of a command, as the one answer.
async fn told(
    session: &Use,
    status: Result<ExecStatus, Error>,
) -> Result<Answers<ExecuteCommandResponse>, Status> {
    let status = match status {
        Ok(status) => status,
        Err(error) => return Err(refused(session, error).await),
    };
    let output = serde_json::to_vec(&status).map_err(|e| Status::internal(e.to_string()))?;
    let answer = ExecuteCommandResponse { output };
    Ok(Box::pin(once(async { Ok(answer) })))
}

/// What is said when it cannot be done; `Unavailable` when it can be tried again.
pub(super) async fn refused(session: &Use, error: Error) -> Status {
    match error.kind() {
        ErrorKind::NotFound if session.why_gone().await.is_none() => {
            Status::not_found(format!("{CANNOT}: {}", said(&error)))
        }
        ErrorKind::Conflict => Status::already_exists(format!("{CANNOT}: {}", said(&error))),
        ErrorKind::Unsupported => Status::unimplemented(format!("{CANNOT}: {}", said(&error))),
        // The machine, or the way to it, has failed: whoever asks may ask again.
        kind if kind.is_retryable() && session.why_gone().await.is_none() => {
            Status::unavailable(format!("{CANNOT}: {}", said(&error)))
        }
        _ => failed(session, CANNOT, error).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&'static str, &str)]) -> Result<Option<Named>, Status> {
        let mut told = MetadataMap::new();
        for (name, value) in pairs {
            told.append(*name, value.parse().unwrap());
        }
        Named::of(&told)
    }

    #[test]
    fn what_a_call_says_is_understood_or_refused() {
        assert_eq!(named(&[("x-other", "1")]).unwrap(), None);
        let id = (metadata::EXEC_ID, "g1");
        let attach = [(metadata::EXEC, "attach"), id];
        let offset = (metadata::EXEC_OFFSET, "7");
        let whole = named(&[attach[0], id, offset]).unwrap().unwrap();
        assert_eq!((whole.verb, whole.id.as_str()), (Verb::Attach(7), "g1"));
        assert_eq!(whole.word(), "attach");
        for bad in [
            &attach[..],
            &[attach[0], id, id, offset],
            &[attach[0], id, (metadata::EXEC_OFFSET, "-1")],
            &[attach[0], (metadata::EXEC_ID, "../x"), offset],
            &[(metadata::EXEC, "run"), id],
            &[(metadata::EXEC, "start"), (metadata::EXEC, "kill"), id],
        ] {
            let refused = named(bad).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{bad:?}");
        }
    }
}
