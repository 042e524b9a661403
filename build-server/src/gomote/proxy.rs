//! Requests to a machine: they go on to it, its answers come back with their trailers.

use std::time::Duration;

use build_core::buildlet::{Buildlet as _, Route, Wire, header};
use build_core::h1::io::{Body as _, Client, Duplex, Flow};
use build_core::h1::{BodySize, Framing, Headers, Limits, RequestHead, ResponseHead};
use build_core::{Error, ErrorKind};
use tokio::time::timeout;

use super::dialect::{Gomote, Lost, Refusal, Request, refuse, respond};
use super::sessions::{Unusable, Use};
use super::tunnel;
use super::user::User;

/// How long a client may neither send a byte of a body nor end it.
const STALL: Duration = Duration::from_secs(600);

/// Fields of a request that a machine is told. Everything else is between the client and us:
/// credentials, cookies, the fields that decide where a request goes.
const TOLD: [&str; 4] = ["Accept", "Accept-Encoding", "Content-Type", "User-Agent"];
/// Fields of a machine's answer that the client is told.
const ANSWERED: [&str; 4] = ["Content-Type", "Date", "Trailer", "X-Content-Type-Options"];

pub(super) async fn answer(
    gomote: &Gomote,
    request: Request<'_>,
    caller: &User,
) -> Result<(), Lost> {
    let usable = match name(request.head().headers()) {
        Ok(name) => gomote.sessions().find(caller, name).await.map_err(refusal),
        Err(refusal) => Err(refusal),
    };
    let session = match usable {
        Ok(session) => session,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let path = request.head().path().to_owned();
    match Route::of(&path) {
        Some(Route::Halt) => halt(request, session).await,
        Some(Route::TcpProxy) => tunnel::tcp(gomote, request, session).await,
        Some(Route::ConnectSsh) => tunnel::ssh(request, session).await,
        // A machine's lease is ours to renew, what it keeps is for later builds, and what the ssh
        // gateway takes is for it.
        None
        | Some(
            Route::Lease
            | Route::TreeOf(_)
            | Route::ExecAttached
            | Route::Sftp
            | Route::Agent
            | Route::AgentAccept,
        ) => refuse(request, Refusal::new(404, "404 page not found")).await,
        Some(_) => pass_on(request, session, gomote.sessions().settings().silence).await,
    }
}

/// The name of the session. Two names are none: whoever stands before us may read the other one.
fn name(headers: &Headers) -> Result<&str, Refusal> {
    let mut names = headers.get_all(header::BUILDLET_PROXY);
    let one = names.next().filter(|_| names.next().is_none());
    one.and_then(|name| std::str::from_utf8(name).ok())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Refusal::bad(format!("bad {} field", header::BUILDLET_PROXY)))
}

fn refusal(unusable: Unusable) -> Refusal {
    let status = match unusable {
        Unusable::Foreign => 401,
        Unusable::Unknown(_) | Unusable::NotYet => 502,
    };
    Refusal::new(status, unusable.to_string())
}

async fn halt(request: Request<'_>, session: Use) -> Result<(), Lost> {
    if request.head().method() != "POST" {
        return refuse(request, Refusal::bad("requires POST method")).await;
    }
    session.destroy();
    respond(request, ResponseHead::new(200), "").await
}

/// What is said when a machine cannot be reached; begins as it did in 2020, so that programs
/// that look for it find it.
async fn failed(request: Request<'_>, session: &Use, error: Error) -> Result<(), Lost> {
    let why = match session.why_gone().await {
        Some(why) => format!("the session has ended: {why}"),
        None => error.chain(),
    };
    let text = format!("(golang.org/issue/28365): gomote proxy error: {why}");
    refuse(request, Refusal::new(502, text)).await
}

/// A request as the machine gets it.
pub(super) fn for_machine(head: &RequestHead, wire: &Wire, more: &[&str]) -> RequestHead {
    let mut sent = RequestHead::new(head.method(), head.target());
    for name in TOLD.iter().chain(more) {
        for value in head.headers().get_all(name) {
            sent.headers_mut().append(name, value);
        }
    }
    wire.address(sent)
}

async fn pass_on(mut request: Request<'_>, session: Use, silence: Duration) -> Result<(), Lost> {
    let framing = match Framing::of_request(request.head()) {
        Ok(framing) => framing,
        Err(error) => return refuse(request, Refusal::bad(error.to_string())).await,
    };
    let wire = match session.session().connect().await {
        Ok(wire) => wire,
        Err(error) => return failed(request, &session, error).await,
    };
    let head = for_machine(request.head(), &wire, &[]);
    let mut client = Client::new(wire.into_io(), Limits::default());
    let answered = match ask(&mut client, &mut request, &head, framing, silence).await {
        Asked::Answered(answered) => answered,
        Asked::Left => return Err(Lost),
        Asked::Failed(error) => return failed(request, &session, error).await,
    };
    give_back(request, client, &head, &answered, silence).await
}

/// What became of a request.
enum Asked {
    Answered(ResponseHead),
    /// The client has gone, or its body was cut off.
    Left,
    /// The machine has.
    Failed(Error),
}

fn broken(error: build_core::h1::io::Error) -> Asked {
    let text = "the machine does not answer";
    Asked::Failed(Error::caused_by(ErrorKind::Unavailable, text, error))
}

fn silent() -> Asked {
    Asked::Failed(Error::new(ErrorKind::TimedOut, "the machine is silent"))
}

async fn ask(
    client: &mut Client<Box<dyn Duplex>>,
    request: &mut Request<'_>,
    head: &RequestHead,
    framing: Framing,
    silence: Duration,
) -> Asked {
    let size = match framing {
        Framing::Length(0) => {
            // Such methods say that there is no body.
            let body: Option<&[u8]> = match head.method() {
                "POST" | "PUT" => Some(b""),
                _ => None,
            };
            return tokio::select! {
                answered = timeout(silence, client.send(head, body)) => match answered {
                    Ok(Ok(answered)) => Asked::Answered(answered.head().clone()),
                    Ok(Err(error)) => broken(error),
                    Err(_) => silent(),
                },
                () = request.closed() => Asked::Left,
            };
        }
        Framing::Length(bytes) => BodySize::Known(bytes),
        Framing::Chunked | Framing::UntilClose => BodySize::Unknown,
    };
    let mut writer = match client.start(head, size).await {
        Ok(writer) => writer,
        Err(error) => return broken(error),
    };
    let is_whole = loop {
        let chunk = tokio::select! {
            chunk = timeout(STALL, request.chunk()) => chunk,
            answered = writer.answered() => match answered {
                Ok(()) => break false,
                Err(error) => return broken(error),
            },
        };
        match chunk {
            Ok(Ok(Some(chunk))) => match writer.write(&chunk).await {
                Ok(Flow::Continue) => {}
                Ok(Flow::Answered) => break false,
                Err(error) => return broken(error),
            },
            Ok(Ok(None)) => break true,
            // Half a body must not be taken for a whole one: the machine sees it cut off.
            Ok(Err(_)) | Err(_) => return Asked::Left,
        }
    };
    let answer = async {
        match is_whole {
            true => writer.finish().await,
            false => writer.response().await,
        }
        .map(|answer| answer.head().clone())
    };
    let answered = async { timeout(silence, answer).await };
    let answered = match is_whole {
        false => answered.await,
        true => tokio::select! {
            answered = answered => answered,
            () = request.closed() => return Asked::Left,
        },
    };
    match answered {
        Ok(Ok(head)) => Asked::Answered(head),
        Ok(Err(error)) => broken(error),
        Err(_) => silent(),
    }
}

/// Gives the answer to the client, piece by piece as it comes. When the client goes away the
/// machine's connection ends, and with it a command that belongs to it.
async fn give_back(
    request: Request<'_>,
    mut client: Client<Box<dyn Duplex>>,
    asked: &RequestHead,
    answered: &ResponseHead,
    silence: Duration,
) -> Result<(), Lost> {
    let size = match Framing::of_response(answered, asked.method()) {
        Ok(Framing::Length(bytes)) => BodySize::Known(bytes),
        Ok(Framing::Chunked | Framing::UntilClose) => BodySize::Unknown,
        Err(_) => return Err(Lost),
    };
    let mut head = ResponseHead::new(answered.status());
    for name in ANSWERED {
        for value in answered.headers().get_all(name) {
            head.headers_mut().append(name, value);
        }
    }
    let mut writer = request.start(head, size).await.map_err(|_| Lost)?;
    loop {
        let chunk = tokio::select! {
            chunk = timeout(silence, client.chunk()) => chunk,
            () = writer.closed() => return Err(Lost),
        };
        match chunk {
            Ok(Ok(Some(chunk))) => writer.write(&chunk).await.map_err(|_| Lost)?,
            Ok(Ok(None)) => break,
            // The client must see that this is not the end.
            Ok(Err(_)) | Err(_) => return Err(Lost),
        }
    }
    let mut trailers = Headers::new();
    for (name, value) in client.trailers().iter() {
        trailers.append(name, value);
    }
    writer.finish(&trailers).await.map_err(|_| Lost)
}
