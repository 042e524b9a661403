//! The Go project's own programs, live, against ours: its follower against our log server, its
//! maintq against our gRPC, our client against its gRPC.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use maintner_core::log::{Layout, WriterOptions};
use maintner_core::maintapi::apipb::DashboardRequest;
use maintner_core::maintapi::{Api, Client, Policy};
use maintner_core::pb::{GerritMutation, GitRef, Mutation};
use maintner_core::source::{LiveLog, MutationSink as _};
use maintner_core::{Corpus, sample, serve};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::go_interop::go_programs;
use crate::net::{Script, Server, issue, load};

/// A Go program that ends with the test.
struct Peer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line; a peer that says nothing is ended by the test's own time limit.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What maintfollow prints of a corpus that says this.
fn as_go_says(corpus: &Corpus) -> String {
    corpus.update().unwrap();
    let view = corpus.view();
    let (mut count, mut text) = (0, String::new());
    for repo in view.github().repos() {
        for issue in repo.issues().with_tombstones() {
            count += 1;
            let (number, title) = (issue.number(), issue.title());
            let _ = writeln!(text, "{repo}#{number} {title} {}", issue.is_closed());
        }
    }
    format!("{count} {}", hex::encode(Sha256::digest(text)))
}

#[test]
fn check_7_the_go_follower_is_live_and_survives_a_restart_without_a_split() {
    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let options = || {
        let layout = Layout::Segments { target: 300 };
        WriterOptions::default().layout(layout).durable(false)
    };
    let folder = dir.path().join("log");
    let mut log = LiveLog::open(&folder, options()).unwrap();
    log.append_mutations(&[issue(1, "one")]).unwrap();
    let server = Server::start(log.clone());
    let truth = load(log.clone());
    let cache = dir.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    let mut follow = Command::new(programs.join("maintfollow"));
    let mut go = Peer::start(follow.arg(server.url()).arg(&cache).stderr(Stdio::null()));
    assert_eq!(go.line(), as_go_says(&truth));
    for n in 2..9 {
        let title = format!("title {n} {}", "x".repeat(40));
        log.append_mutations(&[issue(n, &title)]).unwrap();
        assert_eq!(go.line(), as_go_says(&truth), "rotations included");
    }
    let address = server.address.to_string();
    drop((server, truth, log));

    let mut log = LiveLog::open(&folder, options()).unwrap();
    let _server = Server::with(
        log.clone(),
        serve::Options::default(),
        Script::default(),
        &address,
    );
    log.append_mutations(&[issue(50, "after the restart")])
        .unwrap();
    let wanted = as_go_says(&load(log));
    loop {
        let line = go.line();
        if line == wanted {
            break;
        }
        assert!(line.starts_with("error: "), "no split: {line:?}");
    }
}

/// Tags and branches of two releases.
fn releases() -> Mutation {
    let names = [
        "refs/heads/release-branch.go1.15",
        "refs/heads/release-branch.go1.16",
        "refs/tags/go1.15.8",
        "refs/tags/go1.16",
    ];
    let refs = names.map(|name| GitRef {
        r#ref: name.to_owned(),
        sha1: sample::BASE.to_string(),
    });
    Mutation {
        gerrit: Some(GerritMutation {
            project: "go.googlesource.com/go".to_owned(),
            refs: refs.to_vec(),
            ..GerritMutation::default()
        }),
        ..Mutation::default()
    }
}

fn log_with_releases(folder: &Path) {
    let mut log = LiveLog::open(folder, WriterOptions::default()).unwrap();
    log.append_mutations(&sample::mutations()).unwrap();
    log.append_mutations(&[releases()]).unwrap();
}

/// Serves a router over TLS and HTTP/2, with a certificate made for the occasion.
struct TlsServer {
    port: u16,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl TlsServer {
    fn start(routes: Router) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("localhost:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let token = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let mut connections = tokio::task::JoinSet::new();
                while let Some(accepted) = token.run_until_cancelled(listener.accept()).await {
                    let (tcp, _) = accepted.unwrap();
                    let (acceptor, routes) = (acceptor.clone(), routes.clone());
                    connections.spawn(async move {
                        let Ok(tls) = acceptor.accept(tcp).await else {
                            return;
                        };
                        let service = TowerToHyperService::new(routes);
                        let server =
                            hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                        // How a client ends a connection is its own business.
                        let _ = server.serve_connection(TokioIo::new(tls), service).await;
                    });
                }
            });
        });
        Self {
            port,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn check_22_the_go_maintq_understands_our_answers_and_errors() {
    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    log_with_releases(dir.path());
    let corpus = Corpus::open(dir.path()).unwrap();
    let server = TlsServer::start(Api::new(corpus, Policy::default()).router());
    let ask = |args: &[&str]| {
        let done = Command::new(programs.join("maintq"))
            .arg(format!("-server=localhost:{}", server.port))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.success(), text(done.stdout), text(done.stderr))
    };
    let (base, tip) = (sample::BASE.to_string(), sample::TIP.to_string());
    let (good, out, err) = ask(&["get-ref", "go", "refs/heads/master"]);
    assert_eq!((good, out.trim()), (true, base.as_str()), "{err}");
    let (good, out, err) = ask(&["has-ancestor", &tip, &base]);
    assert!(good && out.contains("has_ancestor:true"), "{out}{err}");
    let (good, out, err) = ask(&["list-releases"]);
    assert!(
        good && out.contains("go1.16") && out.contains("go1.15.8"),
        "{out}{err}"
    );
    let (good, out, err) = ask(&["get-dashboard"]);
    assert!(good && out.contains(&base), "{out}{err}");
    for (args, text) in [
        (&["get-ref", "go", "refs/heads/none"][..], "ref not found"),
        (
            &["get-ref", "none", "HEAD"],
            "code = 2 desc = grpc: unknown gerrit project",
        ),
        (
            &["has-ancestor", "12", &base],
            "code = 2 desc = grpc: invalid Commit",
        ),
        (
            &["get-dashboard", "-branch=NOPE"],
            "code = 5 desc = grpc: unknown branch \"NOPE\"",
        ),
        (
            &["get-dashboard", "-page=-1"],
            "code = 3 desc = grpc: invalid page",
        ),
        (
            &["try-work"],
            "code = 12 desc = grpc: this server was not told",
        ),
    ] {
        let (good, out, err) = ask(args);
        let said = format!("{out}{err}");
        assert!(!good && said.contains(text), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn our_client_and_our_answers_agree_with_the_go_server() {
    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    log_with_releases(dir.path());
    let mut peer = Command::new(programs.join("maintapid"));
    let mut go = Peer::start(peer.arg(dir.path()));
    let port = go.line().rsplit_once(':').unwrap().1.to_owned();
    let corpus = Corpus::open_with(
        dir.path(),
        maintner_core::Options::default().snapshot(false),
    );
    let ours = TlsServer::start(Api::new(corpus.unwrap(), Policy::default()).router());
    let mut theirs = Client::connect(&format!("localhost:{port}")).await.unwrap();
    let mut ours = Client::connect(&format!("localhost:{}", ours.port))
        .await
        .unwrap();
    let (base, tip) = (sample::BASE.to_string(), sample::TIP.to_string());
    for (commit, ancestor) in [(&tip, &base), (&base, &tip), (&tip, &tip)] {
        let go = theirs.has_ancestor(commit, ancestor).await.unwrap();
        assert_eq!(ours.has_ancestor(commit, ancestor).await.unwrap(), go);
    }
    let server = "go.googlesource.com";
    for name in ["refs/heads/master", "refs/heads/none"] {
        let go = theirs.get_ref(server, "go", name).await.unwrap();
        assert_eq!(ours.get_ref(server, "go", name).await.unwrap(), go);
    }
    let go = theirs.get_ref(server, "none", "HEAD").await.unwrap_err();
    let us = ours.get_ref(server, "none", "HEAD").await.unwrap_err();
    assert_eq!((us.code(), us.message()), (go.code(), go.message()));
    let go = theirs.list_go_releases().await.unwrap();
    assert_eq!(ours.list_go_releases().await.unwrap(), go);
    for branch in ["", "release-branch.go1.16", "mixed"] {
        let request = DashboardRequest {
            branch: branch.to_owned(),
            ..DashboardRequest::default()
        };
        let go = theirs.dashboard(request.clone()).await.unwrap();
        assert_eq!(ours.dashboard(request).await.unwrap(), go, "{branch:?}");
    }
}
