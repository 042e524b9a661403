//! Wrong keys at full speed, over connections: the farm goes on for everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::routing::get;
use build_core::event::Principal;
use build_core::key::MasterKey;
use build_server::http::{Remote, serve};
use build_server::who::{Act, Credential, Directory, NewKey, Options, Refusal, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

async fn who(State(directory): State<Directory>, request: Request) -> (StatusCode, String) {
    let from = request.extensions().get::<Remote>().map(|remote| remote.0);
    let shown = request.headers().get("authorization");
    let shown = shown.and_then(|value| value.to_str().ok());
    let Some(credential) = shown.and_then(Credential::of_authorization) else {
        return (StatusCode::UNAUTHORIZED, String::new());
    };
    match directory.caller(&credential, from).await {
        Ok(caller) => (StatusCode::OK, caller.principal().text()),
        Err(Refusal::Throttled(_)) => (StatusCode::TOO_MANY_REQUESTS, String::new()),
        Err(_) => (StatusCode::UNAUTHORIZED, String::new()),
    }
}

/// A connection that asks again and again.
struct Asker(TcpStream, Vec<u8>);

impl Asker {
    async fn new(address: std::net::SocketAddr, authorization: &str) -> Self {
        let request =
            format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n");
        Self(
            TcpStream::connect(address).await.unwrap(),
            request.into_bytes(),
        )
    }

    async fn ask(&mut self) -> u16 {
        self.0.write_all(&self.1).await.unwrap();
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            assert!(
                self.0.read_buf(&mut answer).await.unwrap() > 0,
                "the connection ended"
            );
        }
        std::str::from_utf8(&answer[9..12])
            .unwrap()
            .parse()
            .unwrap()
    }
}

/// Whether an answer has come with its body.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_known_is_served_while_others_guess_as_fast_as_they_can() {
    let data = tempfile::tempdir().unwrap();
    let master = MasterKey::new("secret-master").unwrap();
    let options = Options::default().master(master.clone());
    let directory = Directory::open_with(data.path(), options).unwrap();
    let owner = Principal::person("owner");
    directory.add_user(&owner, "ann", Role::User, &[]).unwrap();
    let made = directory
        .create_key(&owner, NewKey::of_user("ann"))
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let router = Router::new()
        .route("/", get(who))
        .with_state(directory.clone());
    let serving = tokio::spawn(serve(listener, router, stop.clone()));

    let (done, guesses) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let guessers: Vec<_> = (0..8)
        .map(|n| {
            let (done, guesses) = (done.clone(), guesses.clone());
            tokio::spawn(async move {
                let wrong = match n % 2 {
                    0 => {
                        "Basic dXNlci1hbm46MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=".to_owned()
                    }
                    _ => format!("Bearer farmer_{n:064x}"),
                };
                let mut asker = Asker::new(address, &wrong).await;
                while !done.load(Ordering::Relaxed) {
                    let status = asker.ask().await;
                    assert!(matches!(status, 401 | 429), "{status}");
                    guesses.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut known = Asker::new(address, &format!("Bearer {}", made.token.reveal())).await;
    let mut waits = Vec::new();
    // Until both have been busy, not for a time.
    while waits.len() < 200 || guesses.load(Ordering::Relaxed) < 2_000 {
        let asked = Instant::now();
        assert_eq!(
            known.ask().await,
            200,
            "who is right is let in all the while"
        );
        waits.push(asked.elapsed());
    }
    // Revoked meanwhile, as another process would do it: the next question is refused.
    let elsewhere = Directory::open(data.path()).unwrap();
    elsewhere.revoke_key(&owner, &made.key.id).unwrap();
    let revoked = Instant::now();
    assert_eq!(known.ask().await, 401);
    let took = revoked.elapsed();
    done.store(true, Ordering::Relaxed);
    for guesser in guessers {
        guesser.await.unwrap();
    }
    stop.cancel();
    serving.await.unwrap().unwrap();

    waits.sort();
    let guesses = guesses.load(Ordering::Relaxed);
    let (events, _) = directory.audit(1_000).unwrap();
    let refused: Vec<_> = events.iter().filter(|e| e.act == Act::Refused).collect();
    let counted: u64 = refused.iter().map(|e| e.times).sum();
    assert!(
        counted >= guesses,
        "each is counted: {counted} of {guesses}"
    );
    assert!(
        refused.len() <= 10,
        "few lines tell of them: {}",
        refused.len()
    );
    println!(
        "{guesses} wrong keys beside {} right ones; a right one took {:?} (median), {:?} (longest); \
         refused {took:?} after it was revoked; {} lines of audit",
        waits.len(),
        waits[waits.len() / 2],
        waits.last().unwrap_or(&Duration::ZERO),
        refused.len()
    );
}
