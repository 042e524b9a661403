//! Machines for people by gRPC: `protos.GomoteService`, as the Go project's gomote of later years
//! speaks it (docs/protocol/gomote.md).
//!
//! The sessions are those of [`Sessions`](super::Sessions), the users those of the directory:
//! what was created here can be used by HTTP, and the other way round. Codes are part of the
//! interface: `Aborted` of `ExecuteCommand` means that the command could not be run, `Unknown`
//! that it ran and failed. Clients of ours have commands that go on when a call breaks, by
//! metadata that others pass over ([`metadata`]).

mod admit;
mod detached;
mod exec;
mod files;
mod foreign;
mod instances;
mod ssh;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use build_client::gomote::metadata;
use build_core::Result;
use build_core::builders::Farm;
use futures::Stream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use self::admit::Asking;
use self::foreign::Foreign;
pub use self::ssh::{SshDoor, SshKeys};
use super::Gomote;
use super::objects::Objects;
use super::protos::gomote_service_server::{GomoteService as Wire, GomoteServiceServer};
use super::protos::*;

/// The answers of a call that goes on.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service. Clones are the same.
#[derive(Clone)]
pub struct GomoteService(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    gomote: Gomote,
    objects: Objects,
    foreign: Foreign,
    /// Where the toolchains are that Go is built with.
    farm: Arc<Farm>,
    ssh: Option<Arc<dyn SshKeys>>,
    door: Option<SshDoor>,
}

impl fmt::Debug for GomoteService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GomoteService")
            .field("gomote", &self.0.gomote)
            .field("objects", &self.0.objects)
            .field("ssh", &self.0.ssh.is_some())
            .finish_non_exhaustive()
    }
}

impl GomoteService {
    /// Serves the sessions of `gomote`; files go by `objects`, whose pages
    /// ([`Objects::router`]) must be behind the same door.
    ///
    /// # Errors
    /// When the client for files that lie elsewhere cannot be set up.
    pub fn new(gomote: Gomote, objects: Objects) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            gomote,
            objects,
            foreign: Foreign::new()?,
            farm: Arc::new(Farm::go2020()),
            ssh: None,
            door: None,
        })))
    }

    /// Lets people into machines by the gateway that believes these certificates. Without one
    /// `SignSSHKey` says that there is none.
    #[must_use]
    pub fn with_ssh(self, keys: Arc<dyn SshKeys>) -> Self {
        let mut inner = Inner::clone(&self.0);
        inner.ssh = Some(keys);
        Self(Arc::new(inner))
    }

    /// Where that gateway is, for clients of ours; Go's know one place alone.
    #[must_use]
    pub fn with_ssh_door(self, door: SshDoor) -> Self {
        let mut inner = Inner::clone(&self.0);
        inner.door = Some(door);
        Self(Arc::new(inner))
    }

    /// For [`Methods::with`](crate::grpc::Methods::with), with [`PROTOS`](super::PROTOS).
    #[must_use]
    pub fn into_server(self) -> GomoteServiceServer<Self> {
        GomoteServiceServer::new(self)
    }
}

#[tonic::async_trait]
impl Wire for GomoteService {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        self.admit(&request).await?;
        Ok(Response::new(AuthenticateResponse {}))
    }

    async fn add_bootstrap(
        &self,
        request: Request<AddBootstrapRequest>,
    ) -> Result<Response<AddBootstrapResponse>, Status> {
        let who = self.admit(&request).await?;
        let done = files::add_bootstrap(self, &who, request.into_inner()).await?;
        Ok(Response::new(done))
    }

    type CreateInstanceStream = Answers<CreateInstanceResponse>;

    async fn create_instance(
        &self,
        request: Request<CreateInstanceRequest>,
    ) -> Result<Response<Self::CreateInstanceStream>, Status> {
        let who = self.admit(&request).await?;
        let answers = instances::create(self, who, request.into_inner()).await?;
        Ok(Response::new(answers))
    }

    async fn destroy_instance(
        &self,
        request: Request<DestroyInstanceRequest>,
    ) -> Result<Response<DestroyInstanceResponse>, Status> {
        let who = self.admit(&request).await?;
        let session = self.find(&who, &request.get_ref().gomote_id).await?;
        session.destroy();
        Ok(Response::new(DestroyInstanceResponse {}))
    }

    type ExecuteCommandStream = Answers<ExecuteCommandResponse>;

    async fn execute_command(
        &self,
        request: Request<ExecuteCommandRequest>,
    ) -> Result<Response<Self::ExecuteCommandStream>, Status> {
        let who = self.admit(&request).await?;
        let named = detached::Named::of(request.metadata())?;
        match named {
            None => {
                let answers = exec::run(self, &who, request.into_inner()).await?;
                Ok(Response::new(answers))
            }
            Some(named) => detached::answer(self, &who, named, request.into_inner()).await,
        }
    }

    async fn instance_alive(
        &self,
        request: Request<InstanceAliveRequest>,
    ) -> Result<Response<InstanceAliveResponse>, Status> {
        let who = self.admit(&request).await?;
        let id = &request.get_ref().gomote_id;
        let detached = instances::alive(self, &who, id).await?;
        let mut answer = Response::new(InstanceAliveResponse {});
        if detached {
            let yes = MetadataValue::from_static("true");
            answer.metadata_mut().insert(metadata::DETACHED, yes);
        }
        Ok(answer)
    }

    async fn list_directory(
        &self,
        request: Request<ListDirectoryRequest>,
    ) -> Result<Response<ListDirectoryResponse>, Status> {
        let who = self.admit(&request).await?;
        let entries = files::list(self, &who, request.into_inner()).await?;
        Ok(Response::new(ListDirectoryResponse { entries }))
    }

    type ListDirectoryStreamingStream = Answers<ListDirectoryResponse>;

    async fn list_directory_streaming(
        &self,
        request: Request<ListDirectoryRequest>,
    ) -> Result<Response<Self::ListDirectoryStreamingStream>, Status> {
        let who = self.admit(&request).await?;
        let entries = files::list(self, &who, request.into_inner()).await?;
        Ok(Response::new(files::in_pieces(entries)))
    }

    async fn list_instances(
        &self,
        request: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        let who = self.admit(&request).await?;
        Ok(Response::new(instances::list(self, &who)))
    }

    async fn list_swarming_builders(
        &self,
        request: Request<ListSwarmingBuildersRequest>,
    ) -> Result<Response<ListSwarmingBuildersResponse>, Status> {
        self.admit(&request).await?;
        Ok(Response::new(instances::builders(self)))
    }

    async fn read_tgz_to_url(
        &self,
        request: Request<ReadTgzToUrlRequest>,
    ) -> Result<Response<ReadTgzToUrlResponse>, Status> {
        let who = self.admit(&request).await?;
        let done = files::read_tgz(self, &who, request.into_inner()).await?;
        Ok(Response::new(done))
    }

    async fn remove_files(
        &self,
        request: Request<RemoveFilesRequest>,
    ) -> Result<Response<RemoveFilesResponse>, Status> {
        let who = self.admit(&request).await?;
        files::remove(self, &who, request.into_inner()).await?;
        Ok(Response::new(RemoveFilesResponse {}))
    }

    async fn sign_ssh_key(
        &self,
        request: Request<SignSshKeyRequest>,
    ) -> Result<Response<SignSshKeyResponse>, Status> {
        let who = self.admit(&request).await?;
        ssh::sign(self, &who, request.into_inner()).await
    }

    async fn upload_file(
        &self,
        request: Request<UploadFileRequest>,
    ) -> Result<Response<UploadFileResponse>, Status> {
        let who = self.admit(&request).await?;
        Ok(Response::new(files::upload(self, &who)?))
    }

    async fn write_file_from_url(
        &self,
        request: Request<WriteFileFromUrlRequest>,
    ) -> Result<Response<WriteFileFromUrlResponse>, Status> {
        let who = self.admit(&request).await?;
        files::write_file(self, &who, request.into_inner()).await?;
        Ok(Response::new(WriteFileFromUrlResponse {}))
    }

    async fn write_tgz_from_url(
        &self,
        request: Request<WriteTgzFromUrlRequest>,
    ) -> Result<Response<WriteTgzFromUrlResponse>, Status> {
        let who = self.admit(&request).await?;
        files::write_tgz(self, &who, request.into_inner()).await?;
        Ok(Response::new(WriteTgzFromUrlResponse {}))
    }
}
