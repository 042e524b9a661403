//! Every call of the API, one method each.

use build_core::buildlet::ByteStream;
use build_core::event::Seq;
use build_core::ids::{BuildId, MachineId, ReaderName, RepoId, StepName, WishKey};
use build_core::report::{
    ArtifactPage, ArtifactQuery, Board, BoardQuery, Build, BuildPage, BuildQuery, Created,
    EventQuery, ForgetEffect, HoldMachine, Key, KeyRotation, Keys, ListedArtifact, LogQuery,
    Machines, MachinesPast, MadeKey, NewBuild, NewKey, NewUser, Outbox, OutboxChanged, Pools,
    Queue, Repo, RepoChange, Repos, RetryEffects, Sessions, User, UserChange, UserRemoved, Users,
    Why, WishQuery, Wishes, artifact_address,
};
use futures::{StreamExt, stream};
use serde::Serialize;

use super::sse::Frames;
use super::{EventStream, FarmClient, TestStream};
use crate::rest::segment;
use crate::{Error, ErrorKind, Result};

const NOTHING: &[(&str, &str)] = &[];

#[derive(Serialize)]
struct Empty {}

/// Builds.
impl FarmClient {
    /// A part of the list of builds, newest first.
    ///
    /// # Errors
    /// What the farm said, or that it does not answer; so of every call.
    pub async fn builds(&self, which: &BuildQuery) -> Result<BuildPage> {
        self.get("/api/v1/builds", which).await
    }

    /// One build, with what the past says of the tests that failed in it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such build.
    pub async fn build(&self, id: &BuildId) -> Result<Build> {
        self.get(&format!("/api/v1/builds/{id}"), &NOTHING).await
    }

    /// Asks for builds of a commit: all of them or none. Builds of it that have not ended are
    /// shared.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the farm finds no such repository, commit or builder.
    pub async fn create(&self, wish: &NewBuild) -> Result<Created> {
        self.post("/api/v1/builds", wish).await
    }

    /// What is wanted at present, the most urgent first.
    ///
    /// # Errors
    /// When the farm does not answer.
    pub async fn wishes(&self, which: &WishQuery) -> Result<Wishes> {
        self.get("/api/v1/wishes", which).await
    }

    /// Takes back what was asked for: builds that nobody else wants are canceled.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no such wish is open.
    pub async fn withdraw(&self, wish: &WishKey) -> Result<()> {
        self.tell(&format!("/api/v1/wishes/{wish}/withdraw")).await
    }

    /// Builds the commit of a build again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such build.
    pub async fn rerun(&self, id: &BuildId) -> Result<Build> {
        let path = format!("/api/v1/builds/{id}/rerun");
        self.post(&path, &Empty {}).await
    }

    /// Ends a build, for everybody who wants it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it has ended.
    pub async fn cancel(&self, id: &BuildId) -> Result<Build> {
        let path = format!("/api/v1/builds/{id}/cancel");
        self.post(&path, &Empty {}).await
    }

    /// What the runs of a build printed, one after the other as they were started.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such build, step or log any more.
    pub async fn log(&self, id: &BuildId, which: &LogQuery) -> Result<ByteStream> {
        let path = format!("/api/v1/builds/{id}/log");
        self.stream(&path, which).await
    }

    /// The result of each test of a build, however many there are.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such build, or they are not kept any more.
    pub async fn tests(&self, id: &BuildId) -> Result<TestStream> {
        let path = format!("/api/v1/builds/{id}/tests");
        let pieces = self.stream(&path, &NOTHING).await?;
        let lines = Frames::lines(pieces).into_stream();
        Ok(lines.map(|line| parse(&line?, "a test result")).boxed())
    }

    /// The files that a build has kept.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such build.
    pub async fn artifacts(&self, id: &BuildId, which: &ArtifactQuery) -> Result<ArtifactPage> {
        let path = format!("/api/v1/builds/{id}/artifacts");
        self.get(&path, which).await
    }

    /// The contents of a kept file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is not kept any more.
    pub async fn artifact(&self, id: &BuildId, file: &ListedArtifact) -> Result<ByteStream> {
        let address = artifact_address(id, &file.unit(), &file.artifact);
        self.stream(&address, &NOTHING).await
    }

    /// All kept files as one tar archive, each below the name of its step.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the build has kept none.
    pub async fn archive(&self, id: &BuildId, step: Option<&StepName>) -> Result<ByteStream> {
        let path = format!("/api/v1/builds/{id}/artifacts.tar");
        self.stream(&path, &[("step", step)]).await
    }
}

/// Events.
impl FarmClient {
    /// What happens to a build, from its first event or from behind `after` until nothing more
    /// does.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such build.
    pub async fn events(&self, id: &BuildId, after: Option<Seq>) -> Result<EventStream> {
        self.event_stream(&format!("/api/v1/builds/{id}/events"), after)
            .await
    }

    /// What happens in the farm, from now on or from behind `after`.
    ///
    /// # Errors
    /// When the farm does not answer.
    pub async fn all_events(&self, after: Option<Seq>) -> Result<EventStream> {
        self.event_stream("/api/v1/events", after).await
    }

    async fn event_stream(&self, path: &str, after: Option<Seq>) -> Result<EventStream> {
        let query = EventQuery {
            after: after.map(|seq| seq.0),
        };
        let pieces = self.stream(path, &query).await?;
        let events = Frames::events(pieces).into_stream();
        Ok(events.map(|data| parse(&data?, "an event")).boxed())
    }
}

/// The farm.
impl FarmClient {
    /// What waits, and why; of so many builds at most.
    ///
    /// # Errors
    /// When the farm does not answer.
    pub async fn queue(&self, limit: Option<usize>) -> Result<Queue> {
        self.get("/api/v1/queue", &[("limit", limit)]).await
    }

    /// Why a build waits, or that it does not.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such build.
    pub async fn why(&self, id: &BuildId) -> Result<Why> {
        self.get(&format!("/api/v1/queue/{id}/why"), &NOTHING).await
    }

    /// Every kind of machine, and whether the farm takes work.
    ///
    /// # Errors
    /// When the farm does not answer.
    pub async fn pools(&self) -> Result<Pools> {
        self.get("/api/v1/pools", &NOTHING).await
    }

    /// Every machine, and what runs on it.
    ///
    /// # Errors
    /// When the farm does not answer.
    pub async fn machines(&self) -> Result<Machines> {
        self.get("/api/v1/machines", &NOTHING).await
    }

    /// Sets a machine aside: nobody gets it for a time. The answer is that machine, if it is there.
    /// For admins.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the farm never had such a machine, [`ErrorKind::Denied`] for
    /// others.
    pub async fn hold_machine(&self, machine: &MachineId, wish: &HoldMachine) -> Result<Machines> {
        let machine = segment(machine.as_str());
        self.post(&format!("/api/v1/machines/{machine}/hold"), wish)
            .await
    }

    /// Lets a machine be used again that was set aside, or that rests after a failure. The answer is
    /// that machine, if it is there. For admins.
    ///
    /// # Errors
    /// As [`FarmClient::hold_machine`].
    pub async fn release_machine(&self, machine: &MachineId) -> Result<Machines> {
        let machine = segment(machine.as_str());
        self.post(&format!("/api/v1/machines/{machine}/release"), &Empty {})
            .await
    }

    /// What is remembered of machines that register. For admins.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for others.
    pub async fn machines_past(&self) -> Result<MachinesPast> {
        self.get("/api/v1/machines/past", &NOTHING).await
    }

    /// The machines that are held by hand. Needs a token.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without one.
    pub async fn sessions(&self) -> Result<Sessions> {
        self.get("/api/v1/sessions", &NOTHING).await
    }

    /// A part of the dashboard of a repository, newest commits first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when `before` is no place on a board.
    pub async fn board(&self, which: &BoardQuery) -> Result<Board> {
        self.get("/api/v1/board", which).await
    }

    /// Every repository that something was ever asked of.
    ///
    /// # Errors
    /// When the farm does not answer.
    pub async fn repos(&self) -> Result<Repos> {
        self.get("/api/v1/repos", &NOTHING).await
    }

    /// Says that a repository lies somewhere else too, or is called something else. For admins.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such repository, [`ErrorKind::Conflict`] when
    /// another one has the name.
    pub async fn change_repo(&self, id: &RepoId, change: &RepoChange) -> Result<Repo> {
        self.post(&format!("/api/v1/repos/{id}"), change).await
    }

    /// What the readers of the farm have to do, and what they gave up. For admins.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for others.
    pub async fn outbox(&self) -> Result<Outbox> {
        self.get("/api/v1/outbox", &NOTHING).await
    }

    /// Tries again what a reader gave up. For admins.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such reader or effect.
    pub async fn retry(&self, reader: &ReaderName, what: &RetryEffects) -> Result<OutboxChanged> {
        let reader = segment(reader.as_str());
        self.post(&format!("/api/v1/outbox/{reader}/retry"), what)
            .await
    }

    /// Forgets what a reader has to do. For admins.
    ///
    /// # Errors
    /// As [`FarmClient::retry`].
    pub async fn forget(&self, reader: &ReaderName, what: &ForgetEffect) -> Result<OutboxChanged> {
        let reader = segment(reader.as_str());
        self.post(&format!("/api/v1/outbox/{reader}/forget"), what)
            .await
    }
}

/// Users and keys. For admins: to others every call is [`ErrorKind::Denied`].
impl FarmClient {
    /// Every user.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the farm knows nobody but its owner.
    pub async fn users(&self) -> Result<Users> {
        self.get("/api/v1/users", &NOTHING).await
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when there is one of that name.
    pub async fn add_user(&self, new: &NewUser) -> Result<User> {
        self.post("/api/v1/users", new).await
    }

    /// Changes what a user is, or may read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such user.
    pub async fn change_user(&self, name: &str, change: &UserChange) -> Result<User> {
        self.post(&format!("/api/v1/users/{}", segment(name)), change)
            .await
    }

    /// Removes a user, whose keys end with that.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such user.
    pub async fn remove_user(&self, name: &str) -> Result<UserRemoved> {
        self.delete(&format!("/api/v1/users/{}", segment(name)))
            .await
    }

    /// Every key, without its secret.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the farm knows nobody but its owner.
    pub async fn keys(&self) -> Result<Keys> {
        self.get("/api/v1/keys", &NOTHING).await
    }

    /// Makes a key. Its secret is told this once.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such user, [`ErrorKind::Invalid`] when it is
    /// neither a user's nor a machine's.
    pub async fn make_key(&self, new: &NewKey) -> Result<MadeKey> {
        self.post("/api/v1/keys", new).await
    }

    /// Makes a key in the place of another, for the same owner and scope; the old one is good for a
    /// while yet.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such key, [`ErrorKind::Conflict`] when it is not
    /// good any more.
    pub async fn rotate_key(&self, id: &str, how: &KeyRotation) -> Result<MadeKey> {
        self.post(&format!("/api/v1/keys/{}/rotate", segment(id)), how)
            .await
    }

    /// Ends a key at once.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such key.
    pub async fn revoke_key(&self, id: &str) -> Result<Key> {
        self.delete(&format!("/api/v1/keys/{}", segment(id))).await
    }
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(json)
        .map_err(|e| Error::caused_by(ErrorKind::Corrupt, format!("read {what} of the farm"), e))
}

impl Frames {
    fn into_stream(self) -> impl futures::Stream<Item = Result<bytes::Bytes>> + Send {
        stream::try_unfold(self, async |mut frames| {
            Ok(frames.next().await?.map(|frame| (frame, frames)))
        })
    }
}
