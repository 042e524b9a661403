//! `protos.Coordinator/ClearResults`.

use std::sync::Arc;

use async_trait::async_trait;
use build_client::build_dashboard::{Cleared, Dashboard};
use build_core::ErrorKind;
use build_core::ids::BuilderName;
use build_core::key::MasterKey;
use build_core::report::BuildStatus;
use tonic::{Code, Request, Response, Status};

use super::protos::coordinator_server::{Coordinator, CoordinatorServer};
use super::protos::{ClearResultsRequest, ClearResultsResponse};
use crate::coordinator::Handle;
use crate::store::BuildFilter;

/// What stands before a key.
const SCHEME: &str = "builder ";

/// Where results are cleared, so that their commits are built again.
#[async_trait]
pub trait Clear: Send + Sync {
    /// Clears the result of a builder for a commit; one that is not there is cleared. `key` is
    /// the builder's, and not looked at yet.
    ///
    /// # Errors
    /// As the client is to see it.
    async fn clear(&self, builder: &str, hash: &str, key: &str) -> Result<(), Status>;
}

/// The service.
#[derive(Clone)]
pub struct ClearResults(Arc<dyn Clear>);

impl std::fmt::Debug for ClearResults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClearResults").finish_non_exhaustive()
    }
}

impl ClearResults {
    /// Clears results here.
    pub fn new(results: impl Clear + 'static) -> CoordinatorServer<Self> {
        CoordinatorServer::new(Self(Arc::new(results)))
    }
}

#[tonic::async_trait]
impl Coordinator for ClearResults {
    async fn clear_results(
        &self,
        request: Request<ClearResultsRequest>,
    ) -> Result<Response<ClearResultsResponse>, Status> {
        let shown = request.metadata().get("authorization");
        let shown = shown.and_then(|value| value.to_str().ok());
        let key = shown.and_then(|text| text.strip_prefix(SCHEME));
        let key = key.filter(|key| !key.is_empty()).map(str::to_owned);
        let key = key.ok_or_else(|| said(Code::Unauthenticated))?;
        let asked = request.into_inner();
        if asked.builder.is_empty() || asked.hash.is_empty() {
            let text = "Builder and Hash must be provided";
            return Err(Status::invalid_argument(text));
        }
        self.0.clear(&asked.builder, &asked.hash, &key).await?;
        Ok(Response::new(ClearResultsResponse {}))
    }
}

/// A status whose message is the name of its code, as Go spells it.
fn said(code: Code) -> Status {
    let name = match code {
        Code::InvalidArgument => "InvalidArgument",
        Code::Unauthenticated => "Unauthenticated",
        Code::PermissionDenied => "PermissionDenied",
        Code::NotFound => "NotFound",
        Code::Aborted => "Aborted",
        Code::DataLoss => "DataLoss",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::Unimplemented => "Unimplemented",
        Code::Unavailable => "Unavailable",
        Code::DeadlineExceeded => "DeadlineExceeded",
        _ => return Status::internal("Internal"),
    };
    Status::new(code, name)
}

/// The farm's own results: a failure that is cleared is built again.
#[derive(Clone)]
pub struct FarmResults {
    handle: Handle,
    master: MasterKey,
}

impl std::fmt::Debug for FarmResults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FarmResults").finish_non_exhaustive()
    }
}

impl FarmResults {
    /// The results of a farm whose builders' keys are made from `master`.
    pub fn new(handle: Handle, master: MasterKey) -> Self {
        Self { handle, master }
    }
}

#[async_trait]
impl Clear for FarmResults {
    async fn clear(&self, builder: &str, hash: &str, key: &str) -> Result<(), Status> {
        if !self.master.accepts(builder, key) {
            return Err(said(Code::Unauthenticated));
        }
        let name =
            BuilderName::new(builder).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let filter = BuildFilter {
            builder: Some(name.clone()),
            commit: Some(hash.to_owned()),
            ..BuildFilter::default()
        };
        let found = self.handle.records().builds(&filter, None, 1).await;
        let newest = found.map_err(|error| failed(&error))?.builds.pop();
        let Some(row) = newest.filter(|row| row.item.commit.as_str() == hash) else {
            return Ok(());
        };
        match row.state {
            // It is about to be built, or has nothing to be cleared of.
            BuildStatus::Queued | BuildStatus::Running | BuildStatus::Passed => Ok(()),
            _ => {
                let asked = self.handle.submit(row.item, &name).await;
                asked.map(drop).map_err(|error| failed(&error))
            }
        }
    }
}

fn failed(error: &build_core::Error) -> Status {
    let code = match error.kind() {
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Invalid => Code::InvalidArgument,
        _ => {
            tracing::error!(error = error.chain(), "a result cannot be cleared");
            Code::Internal
        }
    };
    Status::new(code, error.to_string())
}

/// Results that a build dashboard has, to which the question is handed on.
#[derive(Clone, Debug)]
pub struct DashboardResults(Arc<Dashboard>);

impl DashboardResults {
    /// Those of this dashboard.
    pub fn new(dashboard: Dashboard) -> Self {
        Self(Arc::new(dashboard))
    }
}

#[async_trait]
impl Clear for DashboardResults {
    async fn clear(&self, builder: &str, hash: &str, key: &str) -> Result<(), Status> {
        let cleared = self.0.clear_once(builder, hash, key).await;
        match cleared {
            Ok(Cleared::Done) => Ok(()),
            Ok(Cleared::Busy) => Err(said(Code::Aborted)),
            Ok(Cleared::Refused(text)) => Err(Status::failed_precondition(text)),
            Ok(Cleared::Status(status)) => Err(said(code_of(status))),
            Err(error) => {
                tracing::warn!(error = %error, "the dashboard cannot be asked");
                Err(said(Code::Internal))
            }
        }
    }
}

/// What a status of HTTP is as a code, as the Go coordinator has it.
fn code_of(status: u16) -> Code {
    match status {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Aborted,
        410 => Code::DataLoss,
        429 => Code::ResourceExhausted,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Internal,
    }
}
