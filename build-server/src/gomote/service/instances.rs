//! Instances: created, listed, kept.

use std::pin::Pin;
use std::time::Duration;

use build_core::buildlet::Buildlet as _;
use build_core::{ErrorKind, Result};
use futures::stream::unfold;
use tokio::time::{Instant, Interval, interval_at, timeout};
use tonic::Status;

use super::super::instance::Instance as Session;
use super::super::protos::create_instance_response::Status as Stage;
use super::super::protos::{
    CreateInstanceRequest, CreateInstanceResponse, Instance, ListInstancesResponse,
    ListSwarmingBuildersResponse,
};
use super::super::sessions::{Use, Watcher};
use super::admit::NO_INSTANCE;
use super::{Answers, Asking, GomoteService};
use crate::gomote::create::said;

/// Between two answers to somebody who waits.
const WAITING: Duration = Duration::from_secs(5);
/// For a machine to say what it can.
const SIGN: Duration = Duration::from_secs(5);
/// For a machine to say where it works.
const WORK_DIR: Duration = Duration::from_secs(30);

fn described(session: &Session) -> Instance {
    Instance {
        gomote_id: session.name.clone(),
        builder_type: session.builder.to_string(),
        host_type: session.host_type.to_string(),
        expires: session.expires.as_seconds(),
        working_dir: String::new(),
    }
}

/// How far a creation has come. Dropped, it is given up.
enum Creation {
    Waiting(Box<Waiting>),
    /// The client is told; until then the machine is nobody's.
    Told(Unclaimed),
    Over,
}

struct Waiting {
    ready: Pin<Box<dyn Future<Output = Result<Session>> + Send>>,
    watcher: Watcher,
    rounds: Interval,
    service: GomoteService,
    who: Asking,
}

/// A session that its client has not heard of: dropped, it is given back.
struct Unclaimed(Option<Use>);

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            session.destroy();
        }
    }
}

pub(super) async fn create(
    service: &GomoteService,
    who: Asking,
    asked: CreateInstanceRequest,
) -> Result<Answers<CreateInstanceResponse>, Status> {
    if asked.builder_type.is_empty() {
        return Err(Status::invalid_argument("invalid builder type"));
    }
    let sessions = service.0.gomote.sessions();
    let creating = sessions.create(&who.user, &asked.builder_type, false).await;
    let creating = creating.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::Invalid => {
            Status::invalid_argument("unknown builder type")
        }
        ErrorKind::Limit => Status::resource_exhausted(said(&error)),
        _ => Status::internal(format!("gomote creation failed: {}", said(&error))),
    })?;
    let waiting = Waiting {
        watcher: creating.watcher(),
        ready: Box::pin(creating.ready()),
        rounds: interval_at(Instant::now() + WAITING, WAITING),
        service: service.clone(),
        who,
    };
    let begun = Creation::Waiting(Box::new(waiting));
    Ok(Box::pin(unfold(begun, go_on)))
}

type Answer = Result<CreateInstanceResponse, Status>;

async fn go_on(creation: Creation) -> Option<(Answer, Creation)> {
    let mut waiting = match creation {
        Creation::Waiting(waiting) => waiting,
        Creation::Told(mut unclaimed) => {
            unclaimed.0 = None;
            return None;
        }
        Creation::Over => return None,
    };
    let ready = tokio::select! {
        ready = &mut waiting.ready => ready,
        _ = waiting.rounds.tick() => {
            let ahead = waiting.watcher.look().await.ahead;
            let answer = CreateInstanceResponse {
                instance: None,
                status: Stage::Waiting.into(),
                waiters_ahead: i64::try_from(ahead).unwrap_or(i64::MAX),
            };
            return Some((Ok(answer), Creation::Waiting(waiting)));
        }
    };
    Some(
        match complete(&waiting.service, &waiting.who, ready).await {
            Ok((answer, unclaimed)) => (Ok(answer), Creation::Told(unclaimed)),
            Err(status) => (Err(status), Creation::Over),
        },
    )
}

async fn complete(
    service: &GomoteService,
    who: &Asking,
    ready: Result<Session>,
) -> Result<(CreateInstanceResponse, Unclaimed), Status> {
    let failed = |text: String| Status::internal(format!("gomote creation failed: {text}"));
    let created = ready.map_err(|error| failed(said(&error)))?;
    let unclaimed = Unclaimed(Some(service.find(who, &created.name).await?));
    let session = unclaimed.0.as_ref().map(Use::session);
    let session = session.ok_or_else(|| Status::not_found(NO_INSTANCE))?;
    let work_dir = timeout(WORK_DIR, session.work_dir()).await;
    let work_dir = work_dir.map_err(|_| failed("the machine is silent".into()))?;
    let working_dir = work_dir.map_err(|error| failed(said(&error)))?;
    let answer = CreateInstanceResponse {
        instance: Some(Instance {
            working_dir,
            ..described(&created)
        }),
        status: Stage::Complete.into(),
        waiters_ahead: 0,
    };
    Ok((answer, unclaimed))
}

/// Keeps a session that is there, and says whether commands go on by themselves on its machine.
pub(super) async fn alive(service: &GomoteService, who: &Asking, id: &str) -> Result<bool, Status> {
    let session = service.find(who, id).await?;
    if let Some(why) = session.why_gone().await {
        let text = format!("{NO_INSTANCE}: it has ended: {why}");
        return Err(Status::not_found(text));
    }
    // A machine that is silent now is there all the same.
    let status = timeout(SIGN, session.session().status()).await;
    Ok(matches!(status, Ok(Ok(status)) if status.detached))
}

pub(super) fn list(service: &GomoteService, who: &Asking) -> ListInstancesResponse {
    let own = service.0.gomote.sessions().list(&who.user);
    ListInstancesResponse {
        instances: own.iter().map(described).collect(),
    }
}

pub(super) fn builders(service: &GomoteService) -> ListSwarmingBuildersResponse {
    let known = service.0.gomote.sessions().handle().builders();
    let mut builders: Vec<_> = known.iter().map(ToString::to_string).collect();
    builders.sort_unstable();
    ListSwarmingBuildersResponse { builders }
}
