//! Streams: what facts belong to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::kinds::StreamKind;
use crate::error::{Error, ErrorKind};
use crate::ids::{
    BotName, BuildId, HolderId, RepoId, SessionId, StreamName, TrySetId, WishKey, WorkflowId,
};

/// What an event belongs to: one build, one session, one wish, written `KIND/NAME`.
///
/// ```
/// use build_core::event::StreamId;
/// # fn main() -> build_core::Result<()> {
/// assert!(matches!("build/B012345678".parse()?, StreamId::Build(_)));
/// let tide: StreamId = "tide/harbour".parse()?;
/// assert_eq!(tide.kind().as_str(), "tide");
/// assert_eq!(tide.to_string(), "tide/harbour");
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum StreamId {
    /// One commit on one builder.
    Build(BuildId),
    /// A machine held for somebody.
    Session(SessionId),
    /// What somebody wants built.
    Wish(WishKey),
    /// A repository, whatever it is called.
    Repo(RepoId),
    /// A patch set that is tried.
    TrySet(TrySetId),
    /// A workflow, such as a release.
    Workflow(WorkflowId),
    /// What a bot did.
    Bot(BotName),
    /// A kind of somebody else's, or of a newer version.
    Other(StreamKind, StreamName),
}

impl StreamId {
    /// What kind of stream it is.
    pub fn kind(&self) -> StreamKind {
        match self {
            Self::Build(_) => StreamKind::BUILD,
            Self::Session(_) => StreamKind::SESSION,
            Self::Wish(_) => StreamKind::WISH,
            Self::Repo(_) => StreamKind::REPO,
            Self::TrySet(_) => StreamKind::TRYSET,
            Self::Workflow(_) => StreamKind::WORKFLOW,
            Self::Bot(_) => StreamKind::BOT,
            Self::Other(kind, _) => kind.clone(),
        }
    }

    /// The build, if it is one.
    pub fn build(&self) -> Option<&BuildId> {
        match self {
            Self::Build(id) => Some(id),
            _ => None,
        }
    }

    /// The session, if it is one.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Session(id) => Some(id),
            _ => None,
        }
    }

    /// The build or session, if it is one of these: what holds machines.
    pub fn holder(&self) -> Option<HolderId> {
        match self {
            Self::Build(id) => Some(id.clone().into()),
            Self::Session(id) => Some(id.clone().into()),
            _ => None,
        }
    }
}

impl From<BuildId> for StreamId {
    fn from(id: BuildId) -> Self {
        Self::Build(id)
    }
}

impl From<SessionId> for StreamId {
    fn from(id: SessionId) -> Self {
        Self::Session(id)
    }
}

impl From<&BuildId> for StreamId {
    fn from(id: &BuildId) -> Self {
        Self::Build(id.clone())
    }
}

impl From<&SessionId> for StreamId {
    fn from(id: &SessionId) -> Self {
        Self::Session(id.clone())
    }
}

impl From<&HolderId> for StreamId {
    fn from(id: &HolderId) -> Self {
        id.clone().into()
    }
}

impl From<WishKey> for StreamId {
    fn from(key: WishKey) -> Self {
        Self::Wish(key)
    }
}

impl From<RepoId> for StreamId {
    fn from(id: RepoId) -> Self {
        Self::Repo(id)
    }
}

impl From<HolderId> for StreamId {
    fn from(id: HolderId) -> Self {
        match id {
            HolderId::Build(id) => Self::Build(id),
            HolderId::Session(id) => Self::Session(id),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(id) => write!(f, "build/{id}"),
            Self::Session(id) => write!(f, "session/{id}"),
            Self::Wish(key) => write!(f, "wish/{key}"),
            Self::Repo(id) => write!(f, "repo/{id}"),
            Self::TrySet(id) => write!(f, "tryset/{id}"),
            Self::Workflow(id) => write!(f, "workflow/{id}"),
            Self::Bot(name) => write!(f, "bot/{name}"),
            Self::Other(kind, name) => write!(f, "{kind}/{name}"),
        }
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StreamId {
    type Err = Error;

    /// Reads what [`fmt::Display`] writes. A kind that is not known is [`StreamId::Other`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the text.
    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((kind, name)) = text.split_once('/') else {
            let text = format!("bad stream {text:?}: it is written KIND/NAME");
            return Err(Error::new(ErrorKind::Invalid, text));
        };
        Ok(match kind {
            "build" => Self::Build(BuildId::new(name)?),
            "session" => Self::Session(SessionId::new(name)?),
            "wish" => Self::Wish(name.parse()?),
            "repo" => Self::Repo(RepoId::new(name)?),
            "tryset" => Self::TrySet(TrySetId::new(name)?),
            "workflow" => Self::Workflow(WorkflowId::new(name)?),
            "bot" => Self::Bot(BotName::new(name)?),
            other => Self::Other(StreamKind::new(other)?, StreamName::new(name)?),
        })
    }
}

impl TryFrom<String> for StreamId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<StreamId> for String {
    fn from(id: StreamId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_come_back_as_they_were_written() {
        for text in [
            "build/B000000001",
            "session/S000000001",
            "wish/000000000000000000000000000000ff",
            "repo/R0123456789abcdef0123456789abcdef",
            "tryset/T7",
            "workflow/go1.16",
            "bot/gopherbot",
            "tide/any name, of/somebody",
        ] {
            let id: StreamId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(matches!(id, StreamId::Other(..)), text.starts_with("tide"));
        }
    }

    #[test]
    fn the_kind_is_what_is_written_and_not_guessed_from_a_name() {
        assert!("build/S000000001".parse::<StreamId>().is_err());
        assert!("session/B000000001".parse::<StreamId>().is_err());
        for bad in ["", "build", "build/", "/x", "Tide/x", "tide/", "a b/x"] {
            assert!(bad.parse::<StreamId>().is_err(), "{bad:?}");
        }
    }
}
