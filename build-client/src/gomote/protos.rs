// Made from proto/gomote.proto in the form of tonic-prost-build; see there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct AuthenticateRequest {}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct AuthenticateResponse {}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct AddBootstrapRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct AddBootstrapResponse {
    /// Where it was fetched; empty when the machine has it anyway.
    #[prost(string, tag = "1")]
    pub bootstrap_go_url: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct CreateInstanceRequest {
    #[prost(string, tag = "1")]
    pub builder_type: ::prost::alloc::string::String,
    #[prost(string, repeated, tag = "2")]
    pub experiment_option: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct CreateInstanceResponse {
    #[prost(message, optional, tag = "1")]
    pub instance: ::core::option::Option<Instance>,
    #[prost(enumeration = "create_instance_response::Status", tag = "2")]
    pub status: i32,
    #[prost(int64, tag = "3")]
    pub waiters_ahead: i64,
}
/// Nested message and enum types in `CreateInstanceResponse`.
pub mod create_instance_response {
    #[derive(
        Clone,
        Copy,
        Debug,
        PartialEq,
        Eq,
        Hash,
        PartialOrd,
        Ord,
        ::prost::Enumeration
    )]
    #[repr(i32)]
    pub enum Status {
        Unknown = 0,
        Waiting = 1,
        Complete = 2,
    }
    impl Status {
        /// String value of the enum field names used in the ProtoBuf definition.
        ///
        /// The values are not transformed in any way and thus are considered stable
        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
        pub fn as_str_name(&self) -> &'static str {
            match self {
                Self::Unknown => "UNKNOWN",
                Self::Waiting => "WAITING",
                Self::Complete => "COMPLETE",
            }
        }
        /// Creates an enum from field names used in the ProtoBuf definition.
        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
            match value {
                "UNKNOWN" => Some(Self::Unknown),
                "WAITING" => Some(Self::Waiting),
                "COMPLETE" => Some(Self::Complete),
                _ => None,
            }
        }
    }
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct DestroyInstanceRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct DestroyInstanceResponse {}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ExecuteCommandRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub command: ::prost::alloc::string::String,
    /// A program of the system, not one of the work directory.
    #[prost(bool, tag = "3")]
    pub system_level: bool,
    /// The output begins with a line that tells what is run.
    #[prost(bool, tag = "4")]
    pub debug: bool,
    /// NAME=value each.
    #[prost(string, repeated, tag = "5")]
    pub append_environment: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Elements of PATH.
    #[prost(string, repeated, tag = "6")]
    pub path: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    #[prost(string, tag = "7")]
    pub directory: ::prost::alloc::string::String,
    #[prost(string, repeated, tag = "8")]
    pub args: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// A builder whose environment the command gets.
    #[prost(string, tag = "9")]
    pub imitate_host_type: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ExecuteCommandResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub output: ::prost::alloc::vec::Vec<u8>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Instance {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub builder_type: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub host_type: ::prost::alloc::string::String,
    /// Seconds since 1970.
    #[prost(int64, tag = "4")]
    pub expires: i64,
    #[prost(string, tag = "5")]
    pub working_dir: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct InstanceAliveRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct InstanceAliveResponse {}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ListDirectoryRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub directory: ::prost::alloc::string::String,
    #[prost(bool, tag = "3")]
    pub recursive: bool,
    #[prost(string, repeated, tag = "4")]
    pub skip_files: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    #[prost(bool, tag = "5")]
    pub digest: bool,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ListDirectoryResponse {
    #[prost(string, repeated, tag = "1")]
    pub entries: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ListInstancesRequest {}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ListInstancesResponse {
    #[prost(message, repeated, tag = "1")]
    pub instances: ::prost::alloc::vec::Vec<Instance>,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ListSwarmingBuildersRequest {}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ListSwarmingBuildersResponse {
    #[prost(string, repeated, tag = "1")]
    pub builders: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ReadTgzToUrlRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub directory: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ReadTgzToUrlResponse {
    #[prost(string, tag = "1")]
    pub url: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct RemoveFilesRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
    #[prost(string, repeated, tag = "2")]
    pub paths: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct RemoveFilesResponse {}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct SignSshKeyRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
    /// A line as in a file of public keys.
    #[prost(bytes = "vec", tag = "2")]
    pub public_ssh_key: ::prost::alloc::vec::Vec<u8>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct SignSshKeyResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub signed_public_ssh_key: ::prost::alloc::vec::Vec<u8>,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct UploadFileRequest {}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct UploadFileResponse {
    /// Where the form is posted; with the name of the object behind it, what is written to machines.
    #[prost(string, tag = "1")]
    pub url: ::prost::alloc::string::String,
    /// Fields of the form, before the part `file`.
    #[prost(map = "string, string", tag = "2")]
    pub fields: ::std::collections::HashMap<
        ::prost::alloc::string::String,
        ::prost::alloc::string::String,
    >,
    #[prost(string, tag = "3")]
    pub object_name: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct WriteFileFromUrlRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub url: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub filename: ::prost::alloc::string::String,
    /// In the bits of Go's file modes.
    #[prost(fixed32, tag = "4")]
    pub mode: u32,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct WriteFileFromUrlResponse {}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct WriteTgzFromUrlRequest {
    #[prost(string, tag = "1")]
    pub gomote_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub url: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub directory: ::prost::alloc::string::String,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct WriteTgzFromUrlResponse {}
/// Generated client implementations.
pub mod gomote_service_client {
    #![allow(
        unused_variables,
        dead_code,
        missing_docs,
        clippy::wildcard_imports,
        clippy::let_unit_value,
    )]
    use tonic::codegen::*;
    use tonic::codegen::http::Uri;
    #[derive(Debug, Clone)]
    pub struct GomoteServiceClient<T> {
        inner: tonic::client::Grpc<T>,
    }
    impl GomoteServiceClient<tonic::transport::Channel> {
        /// Attempt to create a new client by connecting to a given endpoint.
        pub async fn connect<D>(dst: D) -> Result<Self, tonic::transport::Error>
        where
            D: TryInto<tonic::transport::Endpoint>,
            D::Error: Into<StdError>,
        {
            let conn = tonic::transport::Endpoint::new(dst)?.connect().await?;
            Ok(Self::new(conn))
        }
    }
    impl<T> GomoteServiceClient<T>
    where
        T: tonic::client::GrpcService<tonic::body::Body>,
        T::Error: Into<StdError>,
        T::ResponseBody: Body<Data = Bytes> + std::marker::Send + 'static,
        <T::ResponseBody as Body>::Error: Into<StdError> + std::marker::Send,
    {
        pub fn new(inner: T) -> Self {
            let inner = tonic::client::Grpc::new(inner);
            Self { inner }
        }
        pub fn with_origin(inner: T, origin: Uri) -> Self {
            let inner = tonic::client::Grpc::with_origin(inner, origin);
            Self { inner }
        }
        pub fn with_interceptor<F>(
            inner: T,
            interceptor: F,
        ) -> GomoteServiceClient<InterceptedService<T, F>>
        where
            F: tonic::service::Interceptor,
            T::ResponseBody: Default,
            T: tonic::codegen::Service<
                http::Request<tonic::body::Body>,
                Response = http::Response<
                    <T as tonic::client::GrpcService<tonic::body::Body>>::ResponseBody,
                >,
            >,
            <T as tonic::codegen::Service<
                http::Request<tonic::body::Body>,
            >>::Error: Into<StdError> + std::marker::Send + std::marker::Sync,
        {
            GomoteServiceClient::new(InterceptedService::new(inner, interceptor))
        }
        /// Compress requests with the given encoding.
        ///
        /// This requires the server to support it otherwise it might respond with an
        /// error.
        #[must_use]
        pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.inner = self.inner.send_compressed(encoding);
            self
        }
        /// Enable decompressing responses.
        #[must_use]
        pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.inner = self.inner.accept_compressed(encoding);
            self
        }
        /// Limits the maximum size of a decoded message.
        ///
        /// Default: `4MB`
        #[must_use]
        pub fn max_decoding_message_size(mut self, limit: usize) -> Self {
            self.inner = self.inner.max_decoding_message_size(limit);
            self
        }
        /// Limits the maximum size of an encoded message.
        ///
        /// Default: `usize::MAX`
        #[must_use]
        pub fn max_encoding_message_size(mut self, limit: usize) -> Self {
            self.inner = self.inner.max_encoding_message_size(limit);
            self
        }
        /// Shows that the caller's credentials are good.
        pub async fn authenticate(
            &mut self,
            request: impl tonic::IntoRequest<super::AuthenticateRequest>,
        ) -> std::result::Result<
            tonic::Response<super::AuthenticateResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/Authenticate",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "Authenticate"));
            self.inner.unary(req, path, codec).await
        }
        /// Puts the toolchain that builds the first Go toolchain onto a machine.
        pub async fn add_bootstrap(
            &mut self,
            request: impl tonic::IntoRequest<super::AddBootstrapRequest>,
        ) -> std::result::Result<
            tonic::Response<super::AddBootstrapResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/AddBootstrap",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "AddBootstrap"));
            self.inner.unary(req, path, codec).await
        }
        /// Asks for a machine; tells how long the wait is, then which machine it is.
        pub async fn create_instance(
            &mut self,
            request: impl tonic::IntoRequest<super::CreateInstanceRequest>,
        ) -> std::result::Result<
            tonic::Response<tonic::codec::Streaming<super::CreateInstanceResponse>>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/CreateInstance",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "CreateInstance"));
            self.inner.server_streaming(req, path, codec).await
        }
        /// Gives a machine back.
        pub async fn destroy_instance(
            &mut self,
            request: impl tonic::IntoRequest<super::DestroyInstanceRequest>,
        ) -> std::result::Result<
            tonic::Response<super::DestroyInstanceResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/DestroyInstance",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "DestroyInstance"));
            self.inner.unary(req, path, codec).await
        }
        /// Runs a command; the answers are its output, the status how it ended.
        pub async fn execute_command(
            &mut self,
            request: impl tonic::IntoRequest<super::ExecuteCommandRequest>,
        ) -> std::result::Result<
            tonic::Response<tonic::codec::Streaming<super::ExecuteCommandResponse>>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/ExecuteCommand",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "ExecuteCommand"));
            self.inner.server_streaming(req, path, codec).await
        }
        /// Tells whether an instance is there, and keeps it.
        pub async fn instance_alive(
            &mut self,
            request: impl tonic::IntoRequest<super::InstanceAliveRequest>,
        ) -> std::result::Result<
            tonic::Response<super::InstanceAliveResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/InstanceAlive",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "InstanceAlive"));
            self.inner.unary(req, path, codec).await
        }
        /// Lists a directory of a machine.
        pub async fn list_directory(
            &mut self,
            request: impl tonic::IntoRequest<super::ListDirectoryRequest>,
        ) -> std::result::Result<
            tonic::Response<super::ListDirectoryResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/ListDirectory",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "ListDirectory"));
            self.inner.unary(req, path, codec).await
        }
        /// Lists a directory of a machine in pieces.
        pub async fn list_directory_streaming(
            &mut self,
            request: impl tonic::IntoRequest<super::ListDirectoryRequest>,
        ) -> std::result::Result<
            tonic::Response<tonic::codec::Streaming<super::ListDirectoryResponse>>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/ListDirectoryStreaming",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(
                    GrpcMethod::new("protos.GomoteService", "ListDirectoryStreaming"),
                );
            self.inner.server_streaming(req, path, codec).await
        }
        /// The caller's instances.
        pub async fn list_instances(
            &mut self,
            request: impl tonic::IntoRequest<super::ListInstancesRequest>,
        ) -> std::result::Result<
            tonic::Response<super::ListInstancesResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/ListInstances",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "ListInstances"));
            self.inner.unary(req, path, codec).await
        }
        /// The builders that there are machines for.
        pub async fn list_swarming_builders(
            &mut self,
            request: impl tonic::IntoRequest<super::ListSwarmingBuildersRequest>,
        ) -> std::result::Result<
            tonic::Response<super::ListSwarmingBuildersResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/ListSwarmingBuilders",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "ListSwarmingBuilders"));
            self.inner.unary(req, path, codec).await
        }
        /// Packs a directory of a machine, and tells where it can be fetched.
        pub async fn read_tgz_to_url(
            &mut self,
            request: impl tonic::IntoRequest<super::ReadTgzToUrlRequest>,
        ) -> std::result::Result<
            tonic::Response<super::ReadTgzToUrlResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/ReadTGZToURL",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "ReadTGZToURL"));
            self.inner.unary(req, path, codec).await
        }
        /// Removes files and directories of a machine.
        pub async fn remove_files(
            &mut self,
            request: impl tonic::IntoRequest<super::RemoveFilesRequest>,
        ) -> std::result::Result<
            tonic::Response<super::RemoveFilesResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/RemoveFiles",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "RemoveFiles"));
            self.inner.unary(req, path, codec).await
        }
        /// Certifies a public key of the caller for the ssh server of an instance.
        pub async fn sign_ssh_key(
            &mut self,
            request: impl tonic::IntoRequest<super::SignSshKeyRequest>,
        ) -> std::result::Result<
            tonic::Response<super::SignSshKeyResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/SignSSHKey",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "SignSSHKey"));
            self.inner.unary(req, path, codec).await
        }
        /// Tells where a file can be sent that is to be written to machines.
        pub async fn upload_file(
            &mut self,
            request: impl tonic::IntoRequest<super::UploadFileRequest>,
        ) -> std::result::Result<
            tonic::Response<super::UploadFileResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/UploadFile",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "UploadFile"));
            self.inner.unary(req, path, codec).await
        }
        /// Writes a file that was sent, or that lies elsewhere, to a machine.
        pub async fn write_file_from_url(
            &mut self,
            request: impl tonic::IntoRequest<super::WriteFileFromUrlRequest>,
        ) -> std::result::Result<
            tonic::Response<super::WriteFileFromUrlResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/WriteFileFromURL",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "WriteFileFromURL"));
            self.inner.unary(req, path, codec).await
        }
        /// Unpacks an archive that was sent, or that lies elsewhere, on a machine.
        pub async fn write_tgz_from_url(
            &mut self,
            request: impl tonic::IntoRequest<super::WriteTgzFromUrlRequest>,
        ) -> std::result::Result<
            tonic::Response<super::WriteTgzFromUrlResponse>,
            tonic::Status,
        > {
            self.inner
                .ready()
                .await
                .map_err(|e| {
                    tonic::Status::unknown(
                        format!("Service was not ready: {}", e.into()),
                    )
                })?;
            let codec = tonic_prost::ProstCodec::default();
            let path = http::uri::PathAndQuery::from_static(
                "/protos.GomoteService/WriteTGZFromURL",
            );
            let mut req = request.into_request();
            req.extensions_mut()
                .insert(GrpcMethod::new("protos.GomoteService", "WriteTGZFromURL"));
            self.inner.unary(req, path, codec).await
        }
    }
}
/// Generated server implementations.
pub mod gomote_service_server {
    #![allow(
        unused_variables,
        dead_code,
        missing_docs,
        clippy::wildcard_imports,
        clippy::let_unit_value,
    )]
    use tonic::codegen::*;
    /// Generated trait containing gRPC methods that should be implemented for use with GomoteServiceServer.
    #[async_trait]
    pub trait GomoteService: std::marker::Send + std::marker::Sync + 'static {
        /// Shows that the caller's credentials are good.
        async fn authenticate(
            &self,
            request: tonic::Request<super::AuthenticateRequest>,
        ) -> std::result::Result<
            tonic::Response<super::AuthenticateResponse>,
            tonic::Status,
        >;
        /// Puts the toolchain that builds the first Go toolchain onto a machine.
        async fn add_bootstrap(
            &self,
            request: tonic::Request<super::AddBootstrapRequest>,
        ) -> std::result::Result<
            tonic::Response<super::AddBootstrapResponse>,
            tonic::Status,
        >;
        /// Server streaming response type for the CreateInstance method.
        type CreateInstanceStream: tonic::codegen::tokio_stream::Stream<
                Item = std::result::Result<super::CreateInstanceResponse, tonic::Status>,
            >
            + std::marker::Send
            + 'static;
        /// Asks for a machine; tells how long the wait is, then which machine it is.
        async fn create_instance(
            &self,
            request: tonic::Request<super::CreateInstanceRequest>,
        ) -> std::result::Result<
            tonic::Response<Self::CreateInstanceStream>,
            tonic::Status,
        >;
        /// Gives a machine back.
        async fn destroy_instance(
            &self,
            request: tonic::Request<super::DestroyInstanceRequest>,
        ) -> std::result::Result<
            tonic::Response<super::DestroyInstanceResponse>,
            tonic::Status,
        >;
        /// Server streaming response type for the ExecuteCommand method.
        type ExecuteCommandStream: tonic::codegen::tokio_stream::Stream<
                Item = std::result::Result<super::ExecuteCommandResponse, tonic::Status>,
            >
            + std::marker::Send
            + 'static;
        /// Runs a command; the answers are its output, the status how it ended.
        async fn execute_command(
            &self,
            request: tonic::Request<super::ExecuteCommandRequest>,
        ) -> std::result::Result<
            tonic::Response<Self::ExecuteCommandStream>,
            tonic::Status,
        >;
        /// Tells whether an instance is there, and keeps it.
        async fn instance_alive(
            &self,
            request: tonic::Request<super::InstanceAliveRequest>,
        ) -> std::result::Result<
            tonic::Response<super::InstanceAliveResponse>,
            tonic::Status,
        >;
        /// Lists a directory of a machine.
        async fn list_directory(
            &self,
            request: tonic::Request<super::ListDirectoryRequest>,
        ) -> std::result::Result<
            tonic::Response<super::ListDirectoryResponse>,
            tonic::Status,
        >;
        /// Server streaming response type for the ListDirectoryStreaming method.
        type ListDirectoryStreamingStream: tonic::codegen::tokio_stream::Stream<
                Item = std::result::Result<super::ListDirectoryResponse, tonic::Status>,
            >
            + std::marker::Send
            + 'static;
        /// Lists a directory of a machine in pieces.
        async fn list_directory_streaming(
            &self,
            request: tonic::Request<super::ListDirectoryRequest>,
        ) -> std::result::Result<
            tonic::Response<Self::ListDirectoryStreamingStream>,
            tonic::Status,
        >;
        /// The caller's instances.
        async fn list_instances(
            &self,
            request: tonic::Request<super::ListInstancesRequest>,
        ) -> std::result::Result<
            tonic::Response<super::ListInstancesResponse>,
            tonic::Status,
        >;
        /// The builders that there are machines for.
        async fn list_swarming_builders(
            &self,
            request: tonic::Request<super::ListSwarmingBuildersRequest>,
        ) -> std::result::Result<
            tonic::Response<super::ListSwarmingBuildersResponse>,
            tonic::Status,
        >;
        /// Packs a directory of a machine, and tells where it can be fetched.
        async fn read_tgz_to_url(
            &self,
            request: tonic::Request<super::ReadTgzToUrlRequest>,
        ) -> std::result::Result<
            tonic::Response<super::ReadTgzToUrlResponse>,
            tonic::Status,
        >;
        /// Removes files and directories of a machine.
        async fn remove_files(
            &self,
            request: tonic::Request<super::RemoveFilesRequest>,
        ) -> std::result::Result<
            tonic::Response<super::RemoveFilesResponse>,
            tonic::Status,
        >;
        /// Certifies a public key of the caller for the ssh server of an instance.
        async fn sign_ssh_key(
            &self,
            request: tonic::Request<super::SignSshKeyRequest>,
        ) -> std::result::Result<
            tonic::Response<super::SignSshKeyResponse>,
            tonic::Status,
        >;
        /// Tells where a file can be sent that is to be written to machines.
        async fn upload_file(
            &self,
            request: tonic::Request<super::UploadFileRequest>,
        ) -> std::result::Result<
            tonic::Response<super::UploadFileResponse>,
            tonic::Status,
        >;
        /// Writes a file that was sent, or that lies elsewhere, to a machine.
        async fn write_file_from_url(
            &self,
            request: tonic::Request<super::WriteFileFromUrlRequest>,
        ) -> std::result::Result<
            tonic::Response<super::WriteFileFromUrlResponse>,
            tonic::Status,
        >;
        /// Unpacks an archive that was sent, or that lies elsewhere, on a machine.
        async fn write_tgz_from_url(
            &self,
            request: tonic::Request<super::WriteTgzFromUrlRequest>,
        ) -> std::result::Result<
            tonic::Response<super::WriteTgzFromUrlResponse>,
            tonic::Status,
        >;
    }
    #[derive(Debug)]
    pub struct GomoteServiceServer<T> {
        inner: Arc<T>,
        accept_compression_encodings: EnabledCompressionEncodings,
        send_compression_encodings: EnabledCompressionEncodings,
        max_decoding_message_size: Option<usize>,
        max_encoding_message_size: Option<usize>,
    }
    impl<T> GomoteServiceServer<T> {
        pub fn new(inner: T) -> Self {
            Self::from_arc(Arc::new(inner))
        }
        pub fn from_arc(inner: Arc<T>) -> Self {
            Self {
                inner,
                accept_compression_encodings: Default::default(),
                send_compression_encodings: Default::default(),
                max_decoding_message_size: None,
                max_encoding_message_size: None,
            }
        }
        pub fn with_interceptor<F>(
            inner: T,
            interceptor: F,
        ) -> InterceptedService<Self, F>
        where
            F: tonic::service::Interceptor,
        {
            InterceptedService::new(Self::new(inner), interceptor)
        }
        /// Enable decompressing requests with the given encoding.
        #[must_use]
        pub fn accept_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.accept_compression_encodings.enable(encoding);
            self
        }
        /// Compress responses with the given encoding, if the client supports it.
        #[must_use]
        pub fn send_compressed(mut self, encoding: CompressionEncoding) -> Self {
            self.send_compression_encodings.enable(encoding);
            self
        }
        /// Limits the maximum size of a decoded message.
        ///
        /// Default: `4MB`
        #[must_use]
        pub fn max_decoding_message_size(mut self, limit: usize) -> Self {
            self.max_decoding_message_size = Some(limit);
            self
        }
        /// Limits the maximum size of an encoded message.
        ///
        /// Default: `usize::MAX`
        #[must_use]
        pub fn max_encoding_message_size(mut self, limit: usize) -> Self {
            self.max_encoding_message_size = Some(limit);
            self
        }
    }
    impl<T, B> tonic::codegen::Service<http::Request<B>> for GomoteServiceServer<T>
    where
        T: GomoteService,
        B: Body + std::marker::Send + 'static,
        B::Error: Into<StdError> + std::marker::Send + 'static,
    {
        type Response = http::Response<tonic::body::Body>;
        type Error = std::convert::Infallible;
        type Future = BoxFuture<Self::Response, Self::Error>;
        fn poll_ready(
            &mut self,
            _cx: &mut Context<'_>,
        ) -> Poll<std::result::Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, req: http::Request<B>) -> Self::Future {
            match req.uri().path() {
                "/protos.GomoteService/Authenticate" => {
                    #[allow(non_camel_case_types)]
                    struct AuthenticateSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::AuthenticateRequest>
                    for AuthenticateSvc<T> {
                        type Response = super::AuthenticateResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::AuthenticateRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::authenticate(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = AuthenticateSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/AddBootstrap" => {
                    #[allow(non_camel_case_types)]
                    struct AddBootstrapSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::AddBootstrapRequest>
                    for AddBootstrapSvc<T> {
                        type Response = super::AddBootstrapResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::AddBootstrapRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::add_bootstrap(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = AddBootstrapSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/CreateInstance" => {
                    #[allow(non_camel_case_types)]
                    struct CreateInstanceSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::ServerStreamingService<super::CreateInstanceRequest>
                    for CreateInstanceSvc<T> {
                        type Response = super::CreateInstanceResponse;
                        type ResponseStream = T::CreateInstanceStream;
                        type Future = BoxFuture<
                            tonic::Response<Self::ResponseStream>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::CreateInstanceRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::create_instance(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = CreateInstanceSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.server_streaming(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/DestroyInstance" => {
                    #[allow(non_camel_case_types)]
                    struct DestroyInstanceSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::DestroyInstanceRequest>
                    for DestroyInstanceSvc<T> {
                        type Response = super::DestroyInstanceResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::DestroyInstanceRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::destroy_instance(&inner, request)
                                    .await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = DestroyInstanceSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/ExecuteCommand" => {
                    #[allow(non_camel_case_types)]
                    struct ExecuteCommandSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::ServerStreamingService<super::ExecuteCommandRequest>
                    for ExecuteCommandSvc<T> {
                        type Response = super::ExecuteCommandResponse;
                        type ResponseStream = T::ExecuteCommandStream;
                        type Future = BoxFuture<
                            tonic::Response<Self::ResponseStream>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::ExecuteCommandRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::execute_command(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = ExecuteCommandSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.server_streaming(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/InstanceAlive" => {
                    #[allow(non_camel_case_types)]
                    struct InstanceAliveSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::InstanceAliveRequest>
                    for InstanceAliveSvc<T> {
                        type Response = super::InstanceAliveResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::InstanceAliveRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::instance_alive(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = InstanceAliveSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/ListDirectory" => {
                    #[allow(non_camel_case_types)]
                    struct ListDirectorySvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::ListDirectoryRequest>
                    for ListDirectorySvc<T> {
                        type Response = super::ListDirectoryResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::ListDirectoryRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::list_directory(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = ListDirectorySvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/ListDirectoryStreaming" => {
                    #[allow(non_camel_case_types)]
                    struct ListDirectoryStreamingSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::ServerStreamingService<super::ListDirectoryRequest>
                    for ListDirectoryStreamingSvc<T> {
                        type Response = super::ListDirectoryResponse;
                        type ResponseStream = T::ListDirectoryStreamingStream;
                        type Future = BoxFuture<
                            tonic::Response<Self::ResponseStream>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::ListDirectoryRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::list_directory_streaming(
                                        &inner,
                                        request,
                                    )
                                    .await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = ListDirectoryStreamingSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.server_streaming(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/ListInstances" => {
                    #[allow(non_camel_case_types)]
                    struct ListInstancesSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::ListInstancesRequest>
                    for ListInstancesSvc<T> {
                        type Response = super::ListInstancesResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::ListInstancesRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::list_instances(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = ListInstancesSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/ListSwarmingBuilders" => {
                    #[allow(non_camel_case_types)]
                    struct ListSwarmingBuildersSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::ListSwarmingBuildersRequest>
                    for ListSwarmingBuildersSvc<T> {
                        type Response = super::ListSwarmingBuildersResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::ListSwarmingBuildersRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::list_swarming_builders(
                                        &inner,
                                        request,
                                    )
                                    .await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = ListSwarmingBuildersSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/ReadTGZToURL" => {
                    #[allow(non_camel_case_types)]
                    struct ReadTGZToURLSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::ReadTgzToUrlRequest>
                    for ReadTGZToURLSvc<T> {
                        type Response = super::ReadTgzToUrlResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::ReadTgzToUrlRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::read_tgz_to_url(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = ReadTGZToURLSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/RemoveFiles" => {
                    #[allow(non_camel_case_types)]
                    struct RemoveFilesSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::RemoveFilesRequest>
                    for RemoveFilesSvc<T> {
                        type Response = super::RemoveFilesResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::RemoveFilesRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::remove_files(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = RemoveFilesSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/SignSSHKey" => {
                    #[allow(non_camel_case_types)]
                    struct SignSSHKeySvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::SignSshKeyRequest>
                    for SignSSHKeySvc<T> {
                        type Response = super::SignSshKeyResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::SignSshKeyRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::sign_ssh_key(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = SignSSHKeySvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/UploadFile" => {
                    #[allow(non_camel_case_types)]
                    struct UploadFileSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::UploadFileRequest>
                    for UploadFileSvc<T> {
                        type Response = super::UploadFileResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::UploadFileRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::upload_file(&inner, request).await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = UploadFileSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/WriteFileFromURL" => {
                    #[allow(non_camel_case_types)]
                    struct WriteFileFromURLSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::WriteFileFromUrlRequest>
                    for WriteFileFromURLSvc<T> {
                        type Response = super::WriteFileFromUrlResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::WriteFileFromUrlRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::write_file_from_url(&inner, request)
                                    .await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = WriteFileFromURLSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                "/protos.GomoteService/WriteTGZFromURL" => {
                    #[allow(non_camel_case_types)]
                    struct WriteTGZFromURLSvc<T: GomoteService>(pub Arc<T>);
                    impl<
                        T: GomoteService,
                    > tonic::server::UnaryService<super::WriteTgzFromUrlRequest>
                    for WriteTGZFromURLSvc<T> {
                        type Response = super::WriteTgzFromUrlResponse;
                        type Future = BoxFuture<
                            tonic::Response<Self::Response>,
                            tonic::Status,
                        >;
                        fn call(
                            &mut self,
                            request: tonic::Request<super::WriteTgzFromUrlRequest>,
                        ) -> Self::Future {
                            let inner = Arc::clone(&self.0);
                            let fut = async move {
                                <T as GomoteService>::write_tgz_from_url(&inner, request)
                                    .await
                            };
                            Box::pin(fut)
                        }
                    }
                    let accept_compression_encodings = self.accept_compression_encodings;
                    let send_compression_encodings = self.send_compression_encodings;
                    let max_decoding_message_size = self.max_decoding_message_size;
                    let max_encoding_message_size = self.max_encoding_message_size;
                    let inner = self.inner.clone();
                    let fut = async move {
                        let method = WriteTGZFromURLSvc(inner);
                        let codec = tonic_prost::ProstCodec::default();
                        let mut grpc = tonic::server::Grpc::new(codec)
                            .apply_compression_config(
                                accept_compression_encodings,
                                send_compression_encodings,
                            )
                            .apply_max_message_size_config(
                                max_decoding_message_size,
                                max_encoding_message_size,
                            );
                        let res = grpc.unary(method, req).await;
                        Ok(res)
                    };
                    Box::pin(fut)
                }
                _ => {
                    Box::pin(async move {
                        let mut response = http::Response::new(
                            tonic::body::Body::default(),
                        );
                        let headers = response.headers_mut();
                        headers
                            .insert(
                                tonic::Status::GRPC_STATUS,
                                (tonic::Code::Unimplemented as i32).into(),
                            );
                        headers
                            .insert(
                                http::header::CONTENT_TYPE,
                                tonic::metadata::GRPC_CONTENT_TYPE,
                            );
                        Ok(response)
                    })
                }
            }
        }
    }
    impl<T> Clone for GomoteServiceServer<T> {
        fn clone(&self) -> Self {
            let inner = self.inner.clone();
            Self {
                inner,
                accept_compression_encodings: self.accept_compression_encodings,
                send_compression_encodings: self.send_compression_encodings,
                max_decoding_message_size: self.max_decoding_message_size,
                max_encoding_message_size: self.max_encoding_message_size,
            }
        }
    }
    /// Generated gRPC service name
    pub const SERVICE_NAME: &str = "protos.GomoteService";
    impl<T> tonic::server::NamedService for GomoteServiceServer<T> {
        const NAME: &'static str = SERVICE_NAME;
    }
}
