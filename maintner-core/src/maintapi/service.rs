//! The service behind [`Api`]: each method of the protocol to one of ours.

use axum::Router;
use tonic::{Request, Response, Status};

use super::apipb::maintner_service_server::{MaintnerService, MaintnerServiceServer};
use super::apipb::{
    DashboardRequest, DashboardResponse, GetRefRequest, GetRefResponse, GoFindTryWorkRequest,
    GoFindTryWorkResponse, HasAncestorRequest, HasAncestorResponse, ListGoReleasesRequest,
    ListGoReleasesResponse,
};
use super::{Api, TrailersAlways};

impl Api {
    /// The route of the service. It needs a server that speaks HTTP/2; errors are sent so that
    /// the Go project's clients of 2020 understand them.
    pub fn router(&self) -> Router {
        let service = TrailersAlways::new(MaintnerServiceServer::new(self.clone()));
        Router::new().route_service("/apipb.MaintnerService/{method}", service)
    }
}

#[tonic::async_trait]
impl MaintnerService for Api {
    async fn has_ancestor(
        &self,
        request: Request<HasAncestorRequest>,
    ) -> Result<Response<HasAncestorResponse>, Status> {
        Api::has_ancestor(self, request.get_ref()).map(Response::new)
    }

    async fn get_ref(
        &self,
        request: Request<GetRefRequest>,
    ) -> Result<Response<GetRefResponse>, Status> {
        Api::get_ref(self, request.get_ref()).map(Response::new)
    }

    async fn go_find_try_work(
        &self,
        _request: Request<GoFindTryWorkRequest>,
    ) -> Result<Response<GoFindTryWorkResponse>, Status> {
        self.find_try_work().await.map(Response::new)
    }

    async fn list_go_releases(
        &self,
        _request: Request<ListGoReleasesRequest>,
    ) -> Result<Response<ListGoReleasesResponse>, Status> {
        Api::list_go_releases(self).map(Response::new)
    }

    async fn get_dashboard(
        &self,
        request: Request<DashboardRequest>,
    ) -> Result<Response<DashboardResponse>, Status> {
        self.dashboard(request.get_ref()).map(Response::new)
    }
}
