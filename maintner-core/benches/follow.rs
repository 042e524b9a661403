//! From an append to its being visible at followers over HTTP, and what a follower costs.
//!
//! `cargo bench -p maintner-core --bench follow [-- FOLLOWERS…]`, by default 1 and 1000. Writer,
//! server and followers are in this process; each append is on disk before it is shown.

use std::time::{Duration, Instant};

use maintner_core::Corpus;
use maintner_core::log::{LogPosition, WriterOptions};
use maintner_core::net::{NetworkSource, Options};
use maintner_core::pb::{GithubIssueMutation, Mutation};
use maintner_core::serve::LogServer;
use maintner_core::source::{LiveLog, MutationSource as _};
use prost::Message as _;
use tokio_util::sync::CancellationToken;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const APPENDS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Outcome {
    let counts: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let counts = if counts.is_empty() {
        vec![1, 1000]
    } else {
        counts
    };
    for count in counts {
        measure(count)?;
    }
    Ok(())
}

fn measure(count: usize) -> Outcome {
    let dir = tempfile::tempdir()?;
    let log = LiveLog::open(dir.path(), WriterOptions::default())?;
    let mut number = 0;
    let mut append = || -> Outcome<LogPosition> {
        number += 1;
        let mutation = Mutation {
            github_issue: Some(GithubIssueMutation {
                owner: "o".to_owned(),
                repo: "r".to_owned(),
                number,
                title: "what happened".to_owned(),
                ..GithubIssueMutation::default()
            }),
            ..Mutation::default()
        };
        Ok(log.push(&[&mutation.encode_to_vec()])?)
    };
    append()?;
    let stop = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let server = LogServer::new(log.clone(), maintner_core::serve::Options::default())?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let url = format!("http://{}/logs", listener.local_addr()?);
    let routes = server.router();
    let listener = axum::serve::ListenerExt::tap_io(listener, |tcp| {
        let _slower = tcp.set_nodelay(true);
    });
    let token = stop.clone();
    let _serving = runtime.spawn(async move {
        let serve =
            axum::serve(listener, routes).with_graceful_shutdown(token.clone().cancelled_owned());
        let _ = tokio::join!(serve.into_future(), server.run(token));
    });
    let before = resident();
    let mut sources = Vec::new();
    for _ in 0..count {
        let (source, task) = NetworkSource::new(Options::new(&url))?;
        let _task = runtime.spawn(task.run(stop.clone()));
        sources.push(source);
    }
    for source in &sources {
        runtime.block_on(source.ready())?;
    }
    let begin = Instant::now();
    while !sources.iter().all(|source| source.status().tailing) {
        assert!(begin.elapsed() < PATIENCE, "not all read the tail");
        std::thread::sleep(Duration::from_millis(10));
    }
    let each = resident().saturating_sub(before) / count;
    let corpus = Corpus::load(sources[0].clone(), maintner_core::Options::default())?;
    let (mut last, mut applied) = (Vec::new(), Vec::new());
    for _ in 0..APPENDS {
        let begin = Instant::now();
        let end = append()?;
        wait(&sources[0], end)?;
        corpus.update()?;
        assert_eq!(corpus.view().position(), end);
        applied.push(begin.elapsed());
        for source in &sources {
            wait(source, end)?;
        }
        last.push(begin.elapsed());
    }
    println!(
        "{count} followers: append to visible in a corpus {}; at the last follower {}; {} KiB a follower, its connection's both ends included",
        shown(applied),
        shown(last),
        each / 1024
    );
    stop.cancel();
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(())
}

fn wait(source: &NetworkSource, end: LogPosition) -> Outcome {
    let begin = Instant::now();
    let mut known = source.status().end;
    while known < end {
        assert!(begin.elapsed() < PATIENCE, "a follower is stuck");
        known = source.wait(known, PATIENCE)?;
    }
    Ok(())
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    format!("p50 {:.2?}, p99 {:.2?}", at(50), at(99))
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<usize>()
            .ok()
    });
    kib.unwrap_or(0) * 1024
}
