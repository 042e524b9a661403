//! gRPC: the coordinator's own service, and what every server of services has.
//!
//! [`Methods`] gathers services. Its router goes behind [`crate::front::Services::with_grpc`]; it
//! answers for their health, and tells what there is to programs like `grpcurl` (reflection).
//! Errors are sent so that the Go project's clients of 2020 understand them
//! ([`TrailersAlways`]).

mod clear;
mod clear_client;
#[expect(
    missing_docs,
    clippy::pedantic,
    reason = "made from proto/protos.proto"
)]
#[rustfmt::skip]
pub mod protos;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use tonic::server::NamedService;
use tower::Service;

pub use clear::{Clear, ClearResults, DashboardResults, FarmResults};
pub use clear_client::ClearClient;
pub use maintner_core::maintapi::TrailersAlways;

/// The descriptors of `proto/protos.proto`.
pub const PROTOS: &[u8] = include_bytes!("../../proto/protos.bin");

/// Services of gRPC, to be served together.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    router: Router,
    names: Vec<&'static str>,
    descriptors: Vec<&'static [u8]>,
}

/// Descriptors that cannot be read: a bug of the program.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors of the services cannot be read")]
pub struct BadDescriptors(#[source] tonic_reflection::server::Error);

impl Methods {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service as tonic makes it from a protocol, with the descriptors of its file.
    ///
    /// # Panics
    /// When it is there already.
    #[must_use]
    pub fn with<S, B>(mut self, service: S, descriptors: &'static [u8]) -> Self
    where
        S: NamedService + Clone + Send + Sync + 'static,
        S: Service<Request<Body>, Response = axum::http::Response<B>, Error = Infallible>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        self.router = route(self.router, service);
        self.names.push(S::NAME);
        if !self.descriptors.contains(&descriptors) {
            self.descriptors.push(descriptors);
        }
        self
    }

    /// The services, their health, and their descriptions.
    ///
    /// # Errors
    /// When descriptors cannot be read.
    pub async fn into_router(self) -> Result<Router, BadDescriptors> {
        let (reporter, health) = tonic_health::server::health_reporter();
        for name in &self.names {
            let serving = tonic_health::ServingStatus::Serving;
            reporter.set_service_status(name, serving).await;
        }
        let describe = || {
            let begun = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            self.descriptors.iter().fold(begun, |builder, descriptors| {
                builder.register_encoded_file_descriptor_set(descriptors)
            })
        };
        let old = describe().build_v1alpha().map_err(BadDescriptors)?;
        let new = describe().build_v1().map_err(BadDescriptors)?;
        let router = route(self.router, health);
        Ok(route(route(router, old), new))
    }
}

fn route<S, B>(router: Router, service: S) -> Router
where
    S: NamedService + Clone + Send + Sync + 'static,
    S: Service<Request<Body>, Response = axum::http::Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let path = format!("/{}/{{method}}", S::NAME);
    router.route_service(&path, TrailersAlways::new(service))
}
