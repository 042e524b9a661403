use axum::response::Redirect;
use axum::routing::get;
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::front::{Front, Services};
use crate::supervise::Supervisor;

async fn ask(proxy: &ModuleProxy, method: Method, path: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    let answer = proxy.router().oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (parts.status, parts.headers, text)
}

#[tokio::test]
async fn what_was_fetched_survives_the_upstream() {
    let upstream = Router::new()
        .route("/m/@v/v1.0.0.mod", get(|| async { Redirect::to("/there") }))
        .route(
            "/there",
            get(|| async { ([("etag", "\"x\"")], "module m\n") }),
        )
        .route("/m/@v/list", get(|| async { "v1.0.0\n" }))
        .route(
            "/gone/@v/list",
            get(|| async { (StatusCode::GONE, "gone") }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, tasks) = (CancellationToken::new(), Supervisor::new("upstream"));
    let front = Front::new(Services::new().with_pages(upstream));
    tasks.spawn("serve", front.run(listener, stop.clone()));
    let dir = tempfile::tempdir().unwrap();
    let proxy = ModuleProxy::open(&format!("http://{address}/"), dir.path().into()).unwrap();

    for (path, status, text) in [
        ("/m/@v/v1.0.0.mod", 200, "module m\n"),
        ("/m/@v/list", 200, "v1.0.0\n"),
        ("/gone/@v/list", 410, "gone"),
        ("/no/@v/list", 404, ""),
    ] {
        let (seen, fields, body) = ask(&proxy, Method::GET, path).await;
        assert_eq!((seen.as_u16(), body.as_str()), (status, text), "{path}");
        assert_eq!(fields.contains_key("etag"), path.ends_with(".mod"));
    }
    assert_eq!(ask(&proxy, Method::POST, "/m/@v/list").await.0, 405);
    assert_eq!(ask(&proxy, Method::GET, "/m/../x").await.0, 400);

    stop.cancel();
    tasks.drain(Duration::from_secs(5)).await.unwrap();
    for (path, status, text) in [
        ("/m/@v/v1.0.0.mod", 200, "module m\n"),
        ("/m/@v/list", 200, "v1.0.0\n"),
    ] {
        let (seen, _, body) = ask(&proxy, Method::GET, path).await;
        assert_eq!((seen.as_u16(), body.as_str()), (status, text), "{path}");
    }
    let (status, _, text) = ask(&proxy, Method::GET, "/gone/@v/list").await;
    assert_eq!(status, 500);
    assert!(text.contains("does not answer"), "{text}");
    assert!(ModuleProxy::open("proxy", dir.path().into()).is_err());
}
