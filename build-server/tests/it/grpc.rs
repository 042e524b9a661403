//! gRPC behind the front: the coordinator's own service, health, descriptions, errors.

use std::net::SocketAddr;

use async_trait::async_trait;
use build_client::build_dashboard::Dashboard;
use build_core::key::MasterKey;
use build_server::front::{Front, Services};
use build_server::grpc::protos::ClearResultsRequest;
use build_server::grpc::protos::coordinator_client::CoordinatorClient;
use build_server::grpc::{Clear, ClearResults, DashboardResults, FarmResults, Methods, PROTOS};
use build_server::store::{BuildFilter, Store};
use build_server::supervise::Supervisor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::farm::{FakePool, Farm, Repository, SOON, Steps, step};

pub struct Server {
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: Supervisor,
}

impl Server {
    /// Serves results, with `prepare` done to the front.
    pub async fn start(
        results: impl Clear + 'static,
        prepare: impl FnOnce(Front) -> Front,
    ) -> Self {
        let methods = Methods::new().with(ClearResults::new(results), PROTOS);
        let services = Services::new().with_grpc(methods.into_router().await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), Supervisor::new("grpc"));
        let front = prepare(Front::new(services));
        tasks.spawn("front", front.run(listener, stop.clone()));
        Self {
            address,
            stop,
            tasks,
        }
    }

    async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.address);
        Endpoint::try_from(url).unwrap().connect().await.unwrap()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.drain(SOON).await.unwrap();
    }
}

/// A call as `retrybuilds` makes it.
async fn clear(
    channel: &Channel,
    key: Option<&str>,
    builder: &str,
    hash: &str,
) -> Result<(), Status> {
    let mut request = Request::new(ClearResultsRequest {
        builder: builder.into(),
        hash: hash.into(),
    });
    if let Some(key) = key {
        let value = key.parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = CoordinatorClient::new(channel.clone());
    client.clear_results(request).await.map(drop)
}

#[tokio::test]
async fn a_failure_that_is_cleared_is_built_again() {
    let store = Store::memory();
    let farm = Farm::start(&FakePool::new(1), store, Steps(vec![step("all", "false")]));
    let repository = Repository::with_file("a", "");
    farm.build(&repository).await;
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let master = MasterKey::new("a secret").unwrap();
    let builder = farm.builder();
    let key = format!("builder {}", master.key_of(builder.as_str()));
    let results = FarmResults::new(farm.handle.clone(), master);
    let server = Server::start(results, |front| front).await;
    let channel = server.channel().await;
    let name = builder.as_str();
    for (key, builder, hash, code) in [
        (None, name, commit.as_str(), Code::Unauthenticated),
        (Some("builder "), name, &commit, Code::Unauthenticated),
        (Some("Bearer x"), name, &commit, Code::Unauthenticated),
        (Some("builder 00"), name, &commit, Code::Unauthenticated),
        (
            Some(key.as_str()),
            "another",
            &commit,
            Code::Unauthenticated,
        ),
        (Some(&key), name, "", Code::InvalidArgument),
        (Some(&key), "", &commit, Code::InvalidArgument),
    ] {
        let error = clear(&channel, key, builder, hash).await.unwrap_err();
        assert_eq!(error.code(), code, "{key:?} {builder} {hash}");
    }
    let builds = async || {
        let all = BuildFilter::default();
        farm.handle
            .records()
            .builds(&all, None, 9)
            .await
            .unwrap()
            .builds
            .len()
    };
    assert_eq!(builds().await, 1);
    // A commit without a result is cleared.
    clear(&channel, Some(&key), name, &"0".repeat(40))
        .await
        .unwrap();
    assert_eq!(builds().await, 1);
    clear(&channel, Some(&key), name, &commit).await.unwrap();
    assert_eq!(builds().await, 2);
    farm.until_finished(2).await;
    server.stop().await;
    farm.stop().await;
}

/// What a dashboard answers is told as the Go coordinator tells it.
#[tokio::test]
async fn answers_of_a_dashboard_become_codes() {
    let answers = axum::Router::new().route(
        "/clear-results",
        axum::routing::post(async |uri: axum::http::Uri| {
            let query = uri.query().unwrap_or_default().to_owned();
            let hash = query.split('&').find_map(|pair| pair.strip_prefix("hash="));
            let hash = hash.unwrap_or_default().to_owned();
            let (status, text) = match hash.split_once('-') {
                Some(("status", status)) => (status.parse().unwrap(), String::new()),
                Some(("error", "busy")) => (200, "datastore: concurrent transaction".into()),
                Some(("error", text)) => (200, text.to_owned()),
                _ => (200, String::new()),
            };
            let body = format!("{{\"Response\":null,\"Error\":\"{text}\"}}\n");
            (axum::http::StatusCode::from_u16(status).unwrap(), body)
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, tasks) = (CancellationToken::new(), Supervisor::new("dashboard"));
    let front = Front::new(Services::new().with_pages(answers));
    tasks.spawn("serve", front.run(listener, stop.clone()));
    let dashboard = Dashboard::new(&base).unwrap();
    let server = Server::start(DashboardResults::new(dashboard), |front| front).await;
    let channel = server.channel().await;
    let key = Some("builder key");
    clear(&channel, key, "linux-amd64", "fine").await.unwrap();
    for (hash, code, message) in [
        ("error-busy", Code::Aborted, "Aborted"),
        ("error-no", Code::FailedPrecondition, "no"),
        ("status-308", Code::Internal, "Internal"),
        ("status-401", Code::Unauthenticated, "Unauthenticated"),
        ("status-404", Code::NotFound, "NotFound"),
        ("status-409", Code::Aborted, "Aborted"),
        ("status-410", Code::DataLoss, "DataLoss"),
        ("status-429", Code::ResourceExhausted, "ResourceExhausted"),
        ("status-500", Code::Internal, "Internal"),
        ("status-501", Code::Unimplemented, "Unimplemented"),
        ("status-503", Code::Unavailable, "Unavailable"),
        ("status-504", Code::DeadlineExceeded, "DeadlineExceeded"),
        ("status-418", Code::Internal, "Internal"),
    ] {
        let error = clear(&channel, key, "linux-amd64", hash).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (code, message), "{hash}");
    }
    stop.cancel();
    tasks.drain(SOON).await.unwrap();
    let error = clear(&channel, key, "linux-amd64", "fine")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    server.stop().await;
}

struct Nothing;

#[async_trait]
impl Clear for Nothing {
    async fn clear(&self, _: &str, _: &str, _: &str) -> Result<(), Status> {
        Err(Status::failed_precondition("nothing is cleared"))
    }
}

/// Errors are in trailers, behind a head: what clients of 2020 can read. Methods that nobody has
/// are told so.
#[tokio::test]
async fn health_and_unknown_methods_answer() {
    let server = Server::start(Nothing, |front| front).await;
    let channel = server.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let ask = |service: &str| tonic_health::pb::HealthCheckRequest {
        service: service.into(),
    };
    let answer = health.check(ask("protos.Coordinator")).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    let unknown = health.check(ask("protos.Nothing")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    // What a client of 2020 sees of a method and of a service that are not there: status 200,
    // and the code behind the head.
    let io = hyper_util::rt::TokioIo::new(
        tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap(),
    );
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
            .await
            .unwrap();
    tokio::spawn(connection);
    for (path, code) in [
        ("/protos.Coordinator/ClearResults", "16"),
        ("/protos.Coordinator/Nothing", "12"),
        ("/protos.Nothing/ClearResults", "12"),
    ] {
        let empty = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]));
        let request = axum::http::Request::post(format!("http://x{path}"))
            .header("content-type", "application/grpc")
            .body(empty)
            .unwrap();
        let response = send.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(!response.headers().contains_key("grpc-status"), "{path}");
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], code, "{path}");
    }
    server.stop().await;
}
