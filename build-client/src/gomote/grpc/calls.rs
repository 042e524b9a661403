//! Calls of the service: how they are sent, and what their failures mean.

use std::error::Error as _;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use build_core::buildlet::ExecOutcome;
use hyper_util::rt::TokioIo;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use super::super::client::SharedDial;
use super::super::protos::gomote_service_client::GomoteServiceClient;
use super::super::protos::{
    DestroyInstanceRequest, InstanceAliveRequest, ListInstancesRequest, SignSshKeyRequest,
};
use super::super::{Listed, SshTicket};
use super::metadata;
use super::objects::Objects;
use crate::transport::Dial as _;
use crate::{Error, ErrorKind, Result};

/// Longest message: a listing in one piece has some megabytes.
const LONGEST: usize = 64 << 20;
/// For calls that are answered at once.
pub(super) const SHORT: Duration = Duration::from_secs(20);
/// For calls that bring files to a machine, fetch them, or remove many.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// Where Go's gateway for ssh listens; ours says where it does.
const SSH_PORT: u16 = 2222;
/// What begins the status of a command that ran and failed.
const RAN_AND_FAILED: &str = "command execution failed: ";

/// A server that is asked. Calls share a connection, which is made anew when it broke.
pub(in super::super) struct Calls {
    dial: SharedDial,
    scheme: &'static str,
    authorization: String,
    pub(super) objects: Objects,
    channel: Mutex<Option<Channel>>,
}

impl fmt::Debug for Calls {
    /// Leaves out the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calls({})", self.dial.authority())
    }
}

impl Calls {
    /// `roots` are certificates in PEM that are trusted for files besides the usual ones.
    pub(in super::super) fn new(
        dial: SharedDial,
        is_encrypted: bool,
        authorization: String,
        roots: Option<&[u8]>,
    ) -> Result<Self> {
        Ok(Self {
            dial,
            scheme: if is_encrypted { "https" } else { "http" },
            authorization,
            objects: Objects::new(roots)?,
            channel: Mutex::default(),
        })
    }

    /// The service over the connection there is.
    pub(super) fn client(&self) -> Result<GomoteServiceClient<Channel>> {
        let mut kept = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match &*kept {
            Some(channel) => channel.clone(),
            None => kept.insert(self.connect()?).clone(),
        };
        Ok(GomoteServiceClient::new(channel).max_decoding_message_size(LONGEST))
    }

    /// The next call takes another connection: the one there is does not answer any more.
    pub(super) fn forget_connection(&self) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn connect(&self) -> Result<Channel> {
        let authority = self.dial.authority();
        let invalid = |error| {
            let text = format!("{authority:?} is no address of a server");
            Error::caused_by(ErrorKind::Invalid, text, error)
        };
        let uri = |scheme| format!("{scheme}://{authority}").parse::<Uri>();
        // The scheme of requests is that of the connection, whoever encrypts it.
        let shown = uri(self.scheme).map_err(invalid)?;
        let uri = uri("http").map_err(invalid)?;
        let dial = self.dial.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let dial = dial.clone();
            async move { dial.dial().await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from(uri).origin(shown).connect_timeout(SHORT);
        Ok(endpoint.connect_with_connector_lazy(connect))
    }

    /// A message with the caller's credentials, and how long its answer may take.
    pub(super) fn ask<T>(&self, message: T, limit: Option<Duration>) -> Result<Request<T>> {
        let mut request = Request::new(message);
        let shown: MetadataValue<Ascii> = self.authorization.parse().map_err(|_| {
            let text = "the token has characters that no header carries";
            Error::new(ErrorKind::Invalid, text)
        })?;
        request.metadata_mut().insert("authorization", shown);
        if let Some(limit) = limit {
            request.set_timeout(limit);
        }
        Ok(request)
    }

    pub(in super::super) async fn list(&self) -> Result<Vec<Listed>> {
        let asked = self.ask(ListInstancesRequest {}, Some(SHORT))?;
        let answer = self.client()?.list_instances(asked).await;
        let answer = answer.map_err(|status| failed("list the machines", &status))?;
        let mut all: Vec<Listed> = answer.into_inner().instances.iter().map(listed).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub(in super::super) async fn destroy(&self, name: &str) -> Result<()> {
        let asked = DestroyInstanceRequest {
            gomote_id: name.to_owned(),
        };
        let asked = self.ask(asked, Some(SHORT))?;
        let done = self.client()?.destroy_instance(asked).await;
        done.map(drop)
            .map_err(|status| failed(&format!("give {name} back"), &status))
    }

    /// Whether a machine is there, and whether commands go on by themselves on it.
    pub(super) async fn alive(&self, name: &str, limit: Duration) -> Result<bool, Status> {
        let asked = InstanceAliveRequest {
            gomote_id: name.to_owned(),
        };
        let told = |error: Error| Status::invalid_argument(error.chain());
        let asked = self.ask(asked, Some(limit)).map_err(told)?;
        let answer = self.client().map_err(told)?.instance_alive(asked).await?;
        Ok(answer.metadata().get(metadata::DETACHED).is_some())
    }

    pub(in super::super) async fn ssh_ticket(
        &self,
        name: &str,
        key: &str,
    ) -> Result<Option<SshTicket>> {
        let asked = SignSshKeyRequest {
            gomote_id: name.to_owned(),
            public_ssh_key: key.as_bytes().to_vec(),
        };
        let asked = self.ask(asked, Some(SHORT))?;
        let answer = match self.client()?.sign_ssh_key(asked).await {
            Ok(answer) => answer,
            Err(status) if status.code() == Code::FailedPrecondition => return Ok(None),
            Err(status) => return Err(failed("have the key certified", &status)),
        };
        let said = |name| {
            let value = answer.metadata().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let port = said(metadata::SSH_PORT).and_then(|port| port.parse().ok());
        let host_key = said(metadata::SSH_HOST_KEY).unwrap_or_default();
        let certificate = String::from_utf8(answer.into_inner().signed_public_ssh_key);
        let certificate = certificate
            .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "the certificate is no text", e))?;
        Ok(Some(SshTicket {
            certificate,
            host_key,
            port: port.unwrap_or(SSH_PORT),
        }))
    }
}

/// What the list and the answer to a creation say of a machine.
pub(super) fn listed(one: &super::super::protos::Instance) -> Listed {
    let expires = jiff::Timestamp::from_second(one.expires);
    Listed {
        user: String::new(),
        name: one.gomote_id.clone(),
        host_type: one.host_type.clone(),
        builder_type: one.builder_type.clone(),
        created: String::new(),
        expires: expires.map_or_else(|_| String::new(), |at| at.to_string()),
    }
}

/// Whether the connection is at fault, and not the server that answered.
pub(super) fn is_cut(status: &Status) -> bool {
    // What a server says has no source; what failed on the way has.
    status.source().is_some() || status.code() == Code::Unavailable
}

/// How a command ended that ran and failed; `None` when it is not known.
pub(super) fn outcome(status: &Status) -> Option<ExecOutcome> {
    let is_told = status.code() == Code::Unknown && !is_cut(status);
    let state = status.message().strip_prefix(RAN_AND_FAILED);
    state
        .filter(|_| is_told)
        .map(ExecOutcome::parse_process_state)
}

/// What failed, in the server's own words.
pub(super) fn failed(what: &str, status: &Status) -> Error {
    let error = Error::new(kind(status), format!("{what}: {}", words(status)));
    match status.code() {
        Code::Unauthenticated => error.with_hint("check the user and the token: gomote login"),
        _ => error,
    }
}

fn kind(status: &Status) -> ErrorKind {
    if is_cut(status) {
        return ErrorKind::Unavailable;
    }
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => ErrorKind::Denied,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::DeadlineExceeded => ErrorKind::TimedOut,
        Code::Cancelled => ErrorKind::Canceled,
        Code::ResourceExhausted => ErrorKind::Limit,
        Code::FailedPrecondition | Code::AlreadyExists => ErrorKind::Conflict,
        Code::DataLoss => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    }
}

fn words(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_the_command_ran() {
        let ran = Status::unknown("command execution failed: exit status 7");
        assert_eq!(outcome(&ran), Some(ExecOutcome::Exit(7)));
        let killed = Status::unknown("command execution failed: signal: killed");
        assert_eq!(outcome(&killed), Some(ExecOutcome::Signal("killed".into())));
        // Neither of these says how it ended.
        assert_eq!(
            outcome(&Status::aborted("unable to execute command: x")),
            None
        );
        assert_eq!(outcome(&Status::unknown("transport error")), None);
        assert_eq!(
            outcome(&Status::unavailable("command execution failed: ok")),
            None
        );
    }

    #[test]
    fn codes_are_kinds_and_the_words_are_the_servers() {
        let text = failed("list", &Status::not_found("no such instance"));
        assert_eq!(
            (text.kind(), text.to_string().as_str()),
            (ErrorKind::NotFound, "list: no such instance")
        );
        let denied = failed("list", &Status::unauthenticated("who?"));
        assert!(denied.kind() == ErrorKind::Denied && denied.hint().is_some());
        for (status, kind) in [
            (Status::unimplemented(""), ErrorKind::Unsupported),
            (Status::failed_precondition(""), ErrorKind::Conflict),
            (Status::aborted(""), ErrorKind::Unavailable),
            (Status::resource_exhausted(""), ErrorKind::Limit),
        ] {
            assert_eq!(failed("x", &status).kind(), kind);
        }
    }
}
