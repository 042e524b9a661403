//! Machines that are held by hand.

use std::sync::Arc;

use build_core::engine::Repro;
use build_core::event::{Outcome, Principal, Seq};
use build_core::ids::{BuildId, BuilderName, HostType, SessionId};
use build_core::pool::Lease;
use build_core::recipe::name_hint;
use build_core::{Error, ErrorKind, Result};
use futures::StreamExt;
use tokio::sync::oneshot;

use super::{Handle, Request, stopped};
use crate::coordinator::session::{Holder, Session, line};
use crate::run::draw;

impl Handle {
    /// Fills the work directory of a session as that of a build was filled: the checkout, and
    /// the caches there are; which of them were put back.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the session holds no machine; the machine's own.
    pub async fn fill_session(
        &self,
        session: &SessionId,
        build: &BuildId,
        repro: &Repro,
    ) -> Result<Vec<String>> {
        let (answer, answered) = oneshot::channel();
        let request = Request::FillSession {
            session: session.clone(),
            build: build.clone(),
            repro: Box::new(repro.clone()),
            answer,
        };
        self.send(request).await?;
        answered.await.map_err(|_| stopped())?
    }

    /// Opens a session: a machine of a builder, or of a kind, to be used by hand. Waits for the
    /// machine as builds do, before those that nobody waits for.
    ///
    /// When the future is dropped the session is given up.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such builder or kind of machine,
    /// [`ErrorKind::Unavailable`] when no machine could be made ready or the coordinator does not
    /// run, [`ErrorKind::Canceled`] when somebody canceled the session.
    pub async fn create(&self, builder_or_host_type: &str) -> Result<Session> {
        self.create_for(builder_or_host_type, "somebody").await
    }

    /// [`Handle::create`], for somebody who is named to others, and has turns as an author has.
    ///
    /// # Errors
    /// As [`Handle::create`].
    pub async fn create_for(
        &self,
        builder_or_host_type: &str,
        by: impl Into<Principal>,
    ) -> Result<Session> {
        let opening = self.open(builder_or_host_type, by, None).await?;
        opening.ready().await
    }

    /// Asks for a session and does not wait for its machine; `name` is what whoever uses it
    /// calls it. Names are not looked at: whoever gives them sees to it that they differ.
    ///
    /// # Errors
    /// As [`Handle::create`], as far as they show at once.
    pub async fn open(
        &self,
        builder_or_host_type: &str,
        by: impl Into<Principal>,
        name: Option<String>,
    ) -> Result<Opening> {
        let builder = self.builder_called(builder_or_host_type)?;
        let session = self.new_session_id().await?;
        let (holder, held) = line();
        let (answer, answered) = oneshot::channel();
        let request = Request::OpenSession {
            session: session.clone(),
            builder,
            by: by.into(),
            name,
            held,
            answer,
        };
        self.send(request).await?;
        Ok(Opening {
            id: session,
            holder,
            answered,
            handle: self.clone(),
        })
    }

    /// Takes up a session that was left, or whose holder ended with an earlier coordinator.
    /// While several hold it, the first one that closes or drops it ends it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such session, or it has ended: the text says why.
    pub async fn session(&self, id: &SessionId) -> Result<Session> {
        let row = self.records.session(id).await?;
        let row = row.ok_or_else(|| {
            let text = format!("there is no session {id}");
            Error::new(ErrorKind::NotFound, text)
        })?;
        if let Some(outcome) = &row.outcome {
            return Err(session_ended(id, outcome));
        }
        let (holder, held) = line();
        let (answer, answered) = oneshot::channel();
        let session = id.clone();
        let request = Request::TakeUpSession {
            session: session.clone(),
            held,
            answer,
        };
        self.send(request).await?;
        self.held(session, holder, answered).await
    }

    async fn held(
        &self,
        id: SessionId,
        holder: Holder,
        answered: oneshot::Receiver<Result<Arc<dyn Lease>>>,
    ) -> Result<Session> {
        let lease = answered.await.map_err(|_| stopped())??;
        Ok(Session::new(id, lease, self.clone(), holder))
    }

    /// Ends a session and waits until its machine is given back.
    pub(in crate::coordinator) async fn close_session(&self, id: &SessionId) -> Result<()> {
        let mut events = self.events(id, Seq(0));
        let session = id.clone();
        self.send(Request::CloseSession { session }).await?;
        while let Some(event) = events.next().await {
            event?;
        }
        Ok(())
    }

    /// The builder of this name, or the first one of this kind of machine.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the nearest one, or all of them.
    pub fn builder_called(&self, name: &str) -> Result<BuilderName> {
        let by_name = self.builders.iter().find(|b| b.as_str() == name);
        let host_type = HostType::new(name).ok();
        let by_kind = host_type.and_then(|kind| self.by_host_type.get(&kind));
        by_name.or(by_kind).cloned().ok_or_else(|| {
            let names = self.builders.iter().map(BuilderName::as_str);
            let text = format!("there is no builder or host type called {name}");
            Error::new(ErrorKind::NotFound, text).with_hint(name_hint(name, names))
        })
    }

    async fn new_session_id(&self) -> Result<SessionId> {
        loop {
            let id = SessionId::from_bits(draw()?);
            if self.records.session(&id).await?.is_none() {
                return Ok(id);
            }
        }
    }
}

/// A session that waits for its machine. Dropped, it is given up.
pub struct Opening {
    id: SessionId,
    holder: Holder,
    answered: oneshot::Receiver<Result<Arc<dyn Lease>>>,
    handle: Handle,
}

impl Opening {
    /// The session, for [`Handle::explain`].
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Waits for the machine.
    ///
    /// # Errors
    /// As [`Handle::create`].
    pub async fn ready(self) -> Result<Session> {
        self.handle.held(self.id, self.holder, self.answered).await
    }
}

/// Why a session is not there any more.
pub(in crate::coordinator) fn session_ended(id: &SessionId, outcome: &Outcome) -> Error {
    let kind = match outcome {
        Outcome::Canceled { .. } => ErrorKind::Canceled,
        Outcome::Infrastructure { .. } => ErrorKind::Unavailable,
        Outcome::Misconfigured { .. } => ErrorKind::Invalid,
        _ => ErrorKind::NotFound,
    };
    Error::new(kind, format!("session {id} has ended: {outcome}"))
}
