//! Which handler answers a request, and whether the client may ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use build_core::buildlet::{MAX_FORM_BYTES, Params, Route, has_password, header};
use build_core::h1::io::{Body as _, Exchange};
use build_core::h1::{Headers, RequestHead, ResponseHead};
use bytes::Bytes;
use tokio::time::timeout;

use super::answer::{Lost, Refusal, chain};
use super::bridge::STALL;
use super::connection::Io;
use super::server::App;
use super::{
    agent, archives, attached, debug, detached_calls, exec, files, listing, machine, ssh, tcp_proxy,
};

/// One request to answer.
pub(crate) type Request<'c> = Exchange<'c, Io>;

/// What a short answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// 200 without a body.
    Empty,
    /// 200 with this plain text, as it is.
    Text(String),
    /// 200 with this JSON text.
    Json(String),
}

impl Reply {
    /// 200 with this value as JSON.
    pub(crate) fn json(value: &impl serde::Serialize) -> Result<Self, Refusal> {
        let text =
            serde_json::to_string(value).map_err(|error| Refusal::failed(error.to_string()))?;
        Ok(Self::Json(text))
    }
}

/// Answers one request.
///
/// # Errors
/// The connection is gone.
pub(crate) async fn answer(app: &Arc<App>, request: Request<'_>) -> Result<(), Lost> {
    // The path outlives the request, which the handlers use up.
    let path = request.head().path().to_owned();
    let route = match admit(app, request.head(), Route::of(&path)) {
        Ok(route) => route,
        Err(refusal) => return refuse(request, refusal).await,
    };
    match route {
        Route::Root => reply(request, Ok(machine::greeting())).await,
        Route::Healthz => reply(request, Ok(Reply::Text("ok\n".into()))).await,
        Route::Status => reply(request, machine::status(app)).await,
        Route::WorkDir => reply(request, Ok(machine::work_dir(app))).await,
        Route::Halt => reply(request, Ok(machine::halt(app))).await,
        Route::TreeOf(sha256) => super::trees::answer(app, request, sha256).await,
        Route::Lease => machine::renew_lease(app, request).await,
        Route::Write => files::write(app, request).await,
        Route::RemoveAll => files::remove_all(app, request).await,
        Route::WriteTgz => archives::unpack(app, request).await,
        Route::Tgz => archives::pack(app, request).await,
        Route::Ls => listing::list(app, request).await,
        Route::Exec if request.head().method() == "GET" => detached_calls::list(app, request).await,
        Route::Exec => exec::exec(app, request).await,
        Route::ExecStart => detached_calls::start(app, request).await,
        Route::ExecAttached => attached::attached(app, request).await,
        Route::ExecOf(id) if request.head().method() == "DELETE" => {
            detached_calls::forget(app, request, id).await
        }
        Route::ExecOf(id) => reply(request, detached_calls::status(app, id)).await,
        Route::ExecLog(id) => detached_calls::log(app, request, id).await,
        Route::ExecKill(id) => detached_calls::kill(app, request, id).await,
        Route::ConnectSsh => ssh::connect(app, request).await,
        #[cfg(feature = "buildlet-sftp")]
        Route::Sftp => super::sftp::serve(app, request).await,
        Route::TcpProxy => tcp_proxy::connect(app, request).await,
        Route::Agent => agent::serve(app, request).await,
        Route::AgentAccept => agent::accept(app, request).await,
        Route::DebugTasks => reply(request, Ok(debug::tasks(app))).await,
        Route::DebugX => debug::bytes(request).await,
        _ => refuse(request, not_found()).await,
    }
}

/// Sends a short answer.
pub(crate) async fn reply(
    request: Request<'_>,
    result: Result<Reply, Refusal>,
) -> Result<(), Lost> {
    let (kind, text) = match result {
        Ok(Reply::Empty) => return send(request, ResponseHead::new(200), "").await,
        Ok(Reply::Text(text)) => ("text/plain; charset=utf-8", text),
        Ok(Reply::Json(text)) => (header::JSON_TYPE, text),
        Err(refusal) => return refuse(request, refusal).await,
    };
    send(
        request,
        ResponseHead::new(200).with("Content-Type", kind),
        &text,
    )
    .await
}

pub(crate) async fn refuse(request: Request<'_>, refusal: Refusal) -> Result<(), Lost> {
    tracing::debug!(
        path = request.head().path(),
        status = refusal.status,
        text = refusal.text,
        "refused"
    );
    request
        .refuse(refusal.status, &refusal.text)
        .await
        .map_err(|_| Lost)
}

async fn send(request: Request<'_>, head: ResponseHead, body: &str) -> Result<(), Lost> {
    request
        .respond(head, body.as_bytes())
        .await
        .map_err(|_| Lost)
}

fn not_found() -> Refusal {
    Refusal::new(404, "404 page not found")
}

/// Where a request goes, if its client may ask.
fn admit<'r>(
    app: &App,
    head: &RequestHead,
    route: Option<Route<'r>>,
) -> Result<Route<'r>, Refusal> {
    if app.halting.is_cancelled() {
        return Err(Refusal::new(503, "this buildlet is halting"));
    }
    let route = route.ok_or_else(not_found)?;
    if route.is_guarded() {
        check_client(app, head.headers())?;
    }
    match route.refuses(head.method()) {
        Some(text) => Err(Refusal::bad(text)),
        None => Ok(route),
    }
}

fn check_client(app: &App, headers: &Headers) -> Result<(), Refusal> {
    match &app.config.password {
        Some(password) if !has_password(headers.get("Authorization"), password.reveal()) => {
            Err(Refusal::new(403, "invalid password"))
        }
        None if app.open_to_tcp.load(Ordering::Relaxed) => refuse_browsers(headers),
        _ => Ok(()),
    }
}

/// The parameters of a request: of its query, and of its form body when it has one.
pub(crate) async fn read_params(request: &mut Request<'_>) -> Result<Params, Refusal> {
    let kind = request
        .head()
        .headers()
        .get_str("Content-Type")
        .unwrap_or_default();
    let is_form = kind.split(';').next().unwrap_or_default().trim() == header::FORM_TYPE;
    let body = if is_form {
        read_form(request).await?
    } else {
        Bytes::new()
    };
    Params::parse(request.head().query(), &body).map_err(|error| Refusal::bad(error.to_string()))
}

async fn read_form(request: &mut Request<'_>) -> Result<Bytes, Refusal> {
    match timeout(STALL, request.read_all(MAX_FORM_BYTES)).await {
        Ok(body) => body.map_err(|error| Refusal::bad(format!("bad form: {}", chain(&error)))),
        Err(_) => Err(Refusal::new(408, "the form did not arrive")),
    }
}

/// The parameters of a request's query.
pub(crate) fn query_params(request: &Request<'_>) -> Result<Params, Refusal> {
    Params::parse(request.head().query(), b"").map_err(|error| Refusal::bad(error.to_string()))
}

/// Without a password a web page could use the browser of somebody on this machine to run
/// commands here. Browsers name the page's origin, and a host name they were made to resolve to
/// this machine; programs that speak the protocol do neither.
fn refuse_browsers(headers: &Headers) -> Result<(), Refusal> {
    if headers.contains("Origin") || headers.contains("Sec-Fetch-Site") {
        return Err(Refusal::new(
            403,
            "requests of web pages are not accepted without a password",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_pages_are_told_from_programs() {
        assert!(refuse_browsers(&Headers::new().with("Host", "localhost:5936")).is_ok());
        assert!(refuse_browsers(&Headers::new().with("Origin", "https://x.example")).is_err());
        assert!(refuse_browsers(&Headers::new().with("Sec-Fetch-Site", "cross-site")).is_err());
    }
}
