//! Following a log server: acceptance checks 7 to 9 with our own follower.

use std::fs;

use maintner_core::godata;
use maintner_core::log::{Layout, LogPosition, WriterOptions};
use maintner_core::net::{NetworkSource, Options, Ready};
use maintner_core::pb::Mutation;
use maintner_core::serve;
use maintner_core::source::{
    DiskSource, LiveLog, MemoryLog, MutationSink as _, MutationSource as _,
};

use crate::net::{Fault, PATIENCE, Script, Server, converge, fingerprint, issue, load, until};

fn small(target: u64) -> WriterOptions {
    WriterOptions::default()
        .layout(Layout::Segments { target })
        .durable(false)
}

fn follow(server: &Server) -> NetworkSource {
    let source = NetworkSource::spawn(Options::new(server.url())).unwrap();
    assert_eq!(
        source.wait_ready().unwrap(),
        Ready::CaughtUp,
        "{:?}",
        source.status()
    );
    source
}

#[test]
fn a_follower_is_live_over_rotations_and_survives_a_restart_without_a_split() {
    let dir = tempfile::tempdir().unwrap();
    for tail in [true, false] {
        let folder = dir.path().join(tail.to_string());
        let mut log = LiveLog::open(&folder, small(300)).unwrap();
        log.append_mutations(&[issue(1, "one")]).unwrap();
        let script = if tail {
            Script::default()
        } else {
            Script::without_tail()
        };
        let server = Server::scripted(log.clone(), &script);
        let source = follow(&server);
        let corpus = load(source.clone());
        let title = |n: i32| format!("title {n} {}", "x".repeat(60));
        for n in 2..12 {
            log.append_mutations(&[issue(n, &title(n))]).unwrap();
            if n % 3 == 0 {
                converge(&source, &corpus, log.clone());
            }
        }
        converge(&source, &corpus, log.clone());
        let address = server.address.to_string();
        drop(server);
        // The writer ends too: everything that was shown was durable.
        drop(log);
        let mut log = LiveLog::open(&folder, small(300)).unwrap();
        log.append_mutations(&[issue(99, "after the restart")])
            .unwrap();
        let _server = Server::with(
            log.clone(),
            serve::Options::default(),
            script.clone(),
            &address,
        );
        converge(&source, &corpus, log.clone());
        until("the tail is read", || !tail || source.status().tailing);
        assert_eq!(source.status().splits, 0);
        assert!(log.segments().unwrap().len() > 4, "there were rotations");
        let bytes = log.end().bytes();
        assert_eq!(source.status().received, bytes, "nothing was fetched twice");
    }
}

#[test]
fn check_8_whatever_the_network_does_the_corpus_is_that_of_the_server() {
    use Fault::{Corrupt, Cut, Garbage, IgnoreRange, None, Redirect, Status};
    let mut log = MemoryLog::of(&[issue(1, "one")]);
    let script = Script::without_tail();
    let server = Server::scripted(log.clone(), &script);
    script.index(&[Status(502), Status(503)]);
    script.segment(&[Cut(7), Cut(20), Status(500)]);
    let source = follow(&server);
    let corpus = load(source.clone());
    for (n, faults) in [
        vec![IgnoreRange],
        vec![Corrupt],
        vec![Corrupt, Corrupt],
        vec![Redirect],
        vec![Cut(3), IgnoreRange],
        vec![Status(404)],
        vec![Status(416), Cut(1)],
        vec![None],
    ]
    .into_iter()
    .enumerate()
    {
        script.segment(&faults);
        let number = 2 + n as i32;
        log.append_mutations(&[issue(number, "a longer title for more bytes")])
            .unwrap();
        converge(&source, &corpus, log.clone());
    }
    script.index(&[Garbage, Status(502)]);
    log.append_mutations(&[issue(100, "last")]).unwrap();
    converge(&source, &corpus, log.clone());
    assert_eq!(source.status().splits, 0);
    let asked = script.asked();
    assert!(
        asked.contains(&"/logs/0?moved bytes=177-208".to_owned())
            || asked
                .iter()
                .any(|line| line.starts_with("/logs/0?moved bytes=")),
        "the range is kept on the way: {asked:#?}"
    );
}

#[test]
fn a_cache_is_resumed_and_is_enough_without_a_network() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LiveLog::open(dir.path().join("log"), small(300)).unwrap();
    let mutations: Vec<Mutation> = (1..20).map(|n| issue(n, "a title")).collect();
    log.append_mutations(&mutations).unwrap();
    let server = Server::start(log.clone());
    let cache = dir.path().join("cache");
    let options = || Options::new(server.url()).cache(&cache).attempts(2);
    let first = NetworkSource::spawn(options()).unwrap();
    first.wait_ready().unwrap();
    assert_eq!(first.status().received, log.end().bytes());
    let names = |folder: &std::path::Path| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".mutlog"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&cache),
        names(log.folder()),
        "the names of the Go programs"
    );
    // Another process of this user shares what is complete, and does not write.
    let second = NetworkSource::spawn(options()).unwrap();
    second.wait_ready().unwrap();
    assert_eq!(second.status().received, 0);
    drop((first, second));

    log.append_mutations(&[issue(50, "more")]).unwrap();
    let grown = log.end().bytes();
    let again = NetworkSource::spawn(options()).unwrap();
    let before = again.status().end.bytes();
    again.wait_ready().unwrap();
    assert_eq!(again.status().received, grown - before, "only what is new");
    let corpus = load(again.clone());
    converge(&again, &corpus, log.clone());
    drop((again, corpus));

    let url = server.url();
    drop(server);
    let offline = NetworkSource::spawn(Options::new(&url).cache(&cache)).unwrap();
    let Ready::Offline { warning } = offline.wait_ready().unwrap() else {
        panic!("there is no server");
    };
    assert!(
        warning.starts_with("no answer from http://127.0.0.1:"),
        "{warning}"
    );
    assert_eq!(fingerprint(&load(offline)), fingerprint(&load(log)));
    let nothing = NetworkSource::spawn(Options::new(&url).attempts(2)).unwrap();
    let error = nothing.wait_ready().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot follow {url}"));
}

#[test]
fn a_damaged_cache_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LiveLog::open(dir.path().join("log"), small(300)).unwrap();
    let mutations: Vec<Mutation> = (1..20).map(|n| issue(n, "a title")).collect();
    log.append_mutations(&mutations).unwrap();
    let server = Server::start(log.clone());
    let cache = dir.path().join("cache");
    let options = || Options::new(server.url()).cache(&cache);
    let open = || {
        let source = NetworkSource::spawn(options()).unwrap();
        source.wait_ready().unwrap();
        assert_eq!(
            fingerprint(&load(source.clone())),
            fingerprint(&load(log.clone()))
        );
        source.status().received
    };
    open();
    let segments = DiskSource::new(&cache).segments().unwrap();
    let damage = |number: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let path = segments[number].path();
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    };
    let last = segments.len() - 1;
    damage(1, &|bytes| bytes[30] ^= 1);
    assert!(
        open() >= segments[1].len(),
        "a changed byte of a complete segment"
    );
    damage(last, &|bytes| bytes.truncate(bytes.len() - 3));
    assert!(open() > 0, "a torn end");
    damage(last, &|bytes| bytes.extend([0; 100]));
    assert_eq!(open(), 0, "what a crash left behind the end");
    damage(last, &|bytes| bytes[20] ^= 1);
    assert!(
        open() >= segments[last].len(),
        "a changed byte of the growing segment"
    );
    let aside = fs::read_dir(&cache).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "corrupt")
    });
    assert_eq!(aside.count(), 1, "what was damaged is kept beside");
}

#[test]
fn check_9_a_server_that_lost_its_end_is_a_split_and_the_corpus_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    for tail in [true, false] {
        let folder = dir.path().join(format!("log {tail}"));
        let mutations: Vec<Mutation> = (1..30).map(|n| issue(n, "a title")).collect();
        let mut log = LiveLog::open(&folder, small(300)).unwrap();
        log.append_mutations(&mutations).unwrap();
        let script = if tail {
            Script::default()
        } else {
            Script::without_tail()
        };
        let server = Server::scripted(log.clone(), &script);
        let source = follow(&server);
        let corpus = load(source.clone());
        converge(&source, &corpus, log.clone());
        let address = server.address.to_string();
        drop((server, log));

        let segments = DiskSource::new(&folder).segments().unwrap();
        let keep = segments.len() / 2;
        for segment in &segments[keep..] {
            fs::remove_file(segment.path()).unwrap();
        }
        let mut other = LiveLog::open(&folder, small(300)).unwrap();
        other
            .append_mutations(&[issue(2, "another history"), issue(77, "new")])
            .unwrap();
        let common = segments[keep].base();
        let _server = Server::with(other.clone(), serve::Options::default(), script, &address);
        until("the split is noticed", || source.status().splits > 0);
        assert_eq!(
            source.rewrites(0).survived,
            Some(common),
            "where both agree"
        );
        converge(&source, &corpus, other.clone());
        assert!(
            corpus
                .view()
                .github()
                .repo("golang/go")
                .unwrap()
                .try_issue(29)
                .is_none()
        );
    }
}

#[test]
fn a_mirror_serves_what_it_follows() {
    let mut log = MemoryLog::of(&[issue(1, "one")]);
    let origin = Server::start(log.clone());
    let mirror = Server::start(follow(&origin));
    let source = follow(&mirror);
    let corpus = load(source.clone());
    for n in 2..5 {
        log.append_mutations(&[issue(n, "more")]).unwrap();
        converge(&source, &corpus, log.clone());
    }
}

#[tokio::test]
async fn godata_opens_any_log_server_and_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = MemoryLog::of(&[issue(1, "one")]);
    let server = Server::start(log.clone());
    let options = || {
        godata::Options::default()
            .server(server.url())
            .cache_dir(dir.path())
    };
    let corpus = godata::open(options()).await.unwrap();
    let mut changes = corpus.follow();
    log.append_mutations(&[issue(2, "two")]).unwrap();
    let change = tokio::time::timeout(PATIENCE, changes.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let numbers: Vec<i32> = change.issues().map(|issue| issue.number()).collect();
    assert_eq!((numbers, change.is_reset()), (vec![2], false));
    assert_eq!(
        change.view().position(),
        LogPosition::new(log.bytes().len() as u64)
    );
    drop((changes, change, corpus));
    drop(server);
    let gone = godata::Options::default()
        .server("http://127.0.0.1:1/logs")
        .cache_dir(dir.path());
    let (corpus, _source, ready) = godata::open_with_status(gone).await.unwrap();
    assert!(matches!(ready, Ready::Offline { .. }));
    assert_eq!(
        corpus
            .view()
            .github()
            .repo("golang/go")
            .unwrap()
            .issues()
            .count(),
        2
    );
    let bad = godata::Options::default()
        .server("maintner.golang.org")
        .cache_dir(dir.path());
    let error = godata::open(bad).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot follow maintner.golang.org");
}
