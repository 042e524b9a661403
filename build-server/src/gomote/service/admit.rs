//! Who asks, and for which session.

use std::net::IpAddr;

use build_core::buildlet::header;
use build_core::{Error, ErrorKind, Result};
use tonic::{Request, Status};

use super::super::sessions::{Unusable, Use};
use super::super::user::User;
use super::GomoteService;
use crate::front::{Authority, Peer};
use crate::gomote::create::said;
use crate::who::{Caller, Credential, Refusal};

const MISSING: &str = "request does not contain the required authentication";

/// Somebody who asks.
pub(super) struct Asking {
    pub(super) user: User,
    pub(super) caller: Caller,
    peer: Peer,
    authority: Option<String>,
}

impl Asking {
    /// Where they ask from.
    pub(super) fn address(&self) -> IpAddr {
        self.peer.address.ip()
    }

    /// Where this client reaches this server by HTTP. Clients of this machine take any
    /// certificate for gRPC but not for files: they are sent to where none is needed.
    pub(super) fn base(&self) -> Result<String, Status> {
        let scheme = if self.peer.local { "http" } else { "https" };
        match &self.authority {
            Some(authority) => Ok(format!("{scheme}://{authority}")),
            None => {
                let text = "the request names no host, so files have no address";
                Err(Status::failed_precondition(text))
            }
        }
    }
}

impl GomoteService {
    /// Whose call it is.
    pub(super) async fn admit<T>(&self, request: &Request<T>) -> Result<Asking, Status> {
        let gomote = &self.0.gomote;
        let peer = request.extensions().get::<Peer>().copied();
        let Some(peer) = peer.filter(|peer| gomote.is_private(*peer)) else {
            return Err(Status::unauthenticated("credentials need TLS here"));
        };
        if request.metadata().contains_key(header::BUILDLET_PROXY) {
            return Err(Status::invalid_argument(
                "a call names its machine in its message",
            ));
        }
        let mut shown = request.metadata().get_all("authorization").iter();
        let missing = || Status::unauthenticated(MISSING);
        let (Some(value), None) = (shown.next(), shown.next()) else {
            return Err(missing());
        };
        let value = value.to_str().map_err(|_| missing())?;
        let credential = Credential::of_authorization(value).ok_or_else(missing)?;
        let caller = gomote.caller(&credential, peer).await;
        let caller = caller.map_err(|refused| refusal(&refused))?;
        let user = User::new(caller.principal().name());
        Ok(Asking {
            user: user.map_err(|error| Status::permission_denied(error.to_string()))?,
            caller,
            peer,
            authority: request.extensions().get::<Authority>().map(|a| a.0.clone()),
        })
    }

    /// A session of whoever asks. It lasts while the answer does.
    pub(super) async fn find(&self, who: &Asking, id: &str) -> Result<Use, Status> {
        if id.is_empty() {
            return Err(Status::invalid_argument("invalid gomote ID"));
        }
        let found = self.0.gomote.sessions().find(&who.user, id).await;
        found.map_err(|unusable| match unusable {
            Unusable::Unknown(None) => Status::not_found(NO_INSTANCE),
            Unusable::Unknown(Some(ended)) => Status::not_found(format!(
                "{NO_INSTANCE}: it ended at {}: {}",
                ended.at, ended.why
            )),
            Unusable::Foreign => {
                Status::permission_denied("not allowed to modify this gomote session")
            }
            Unusable::NotYet => Status::unavailable(unusable.to_string()),
        })
    }
}

pub(super) const NO_INSTANCE: &str = "specified gomote instance does not exist";

fn refusal(refused: &Refusal) -> Status {
    match refused {
        Refusal::Unknown => Status::unauthenticated("bad username or password"),
        Refusal::Throttled(_) => Status::resource_exhausted(refused.to_string()),
        Refusal::Unavailable(_) => Status::unavailable(refused.to_string()),
        Refusal::Forbidden { .. } => Status::permission_denied(refused.to_string()),
        _ => Status::unauthenticated(refused.to_string()),
    }
}

/// What is said when a machine did not do what it was to do: `Aborted`, or that the request was
/// wrong.
pub(super) async fn failed(session: &Use, what: &str, error: Error) -> Status {
    if error.kind() == ErrorKind::Invalid {
        return Status::invalid_argument(format!("{what}: {}", said(&error)));
    }
    match session.why_gone().await {
        Some(why) => Status::aborted(format!("{what}: the session has ended: {why}")),
        None => Status::aborted(format!("{what}: {}", said(&error))),
    }
}
