//! What every buildlet must do, whoever wrote it.

use build_core::buildlet::{Buildlet, ByteStream, Exec, ExecEvent, ExecOutcome, ListDir};
use build_core::ids::ExecId;
use build_core::tarutil::{EntryHeader, FileList};
use futures::StreamExt;

use crate::{ErrorKind, collect, once};

/// Drives a fresh buildlet through the calls of the trait and checks what comes back.
///
/// Servers of other makers pass too; what they do not know is left out: see
/// [`detached_contract`].
///
/// # Panics
/// When something is not as the trait promises; the message tells what.
pub async fn contract(buildlet: &dyn Buildlet) {
    let status = buildlet.status().await.expect("status");
    assert!(status.version >= 1, "{status:?}");
    let work_dir = buildlet.work_dir().await.expect("work_dir");
    assert!(work_dir.starts_with('/'), "{work_dir:?}");
    files(buildlet).await;
    archives(buildlet).await;
    commands(buildlet).await;
}

async fn files(buildlet: &dyn Buildlet) {
    buildlet
        .put("dir/plain file+.txt", 0o640, once("plain\n"))
        .await
        .expect("put");
    buildlet
        .put("run.sh", 0o755, once("#!/bin/sh\necho ran\n"))
        .await
        .expect("put executable");
    let ran = buildlet
        .exec(Exec::in_work_dir("run.sh"))
        .await
        .expect("exec in work dir");
    assert_eq!(
        (ran.outcome(), ran.text().as_str()),
        (&ExecOutcome::Ok, "ran\n")
    );

    let outside = buildlet
        .put("../outside", 0o644, once("x"))
        .await
        .expect_err("put outside");
    assert_eq!(outside.kind(), ErrorKind::Invalid, "{}", outside.chain());

    let what = ListDir {
        recursive: true,
        digest: true,
        ..ListDir::default()
    };
    let entries = buildlet.list_dir(&what).await.expect("list_dir");
    let plain = entries
        .iter()
        .find(|entry| entry.name == "dir/plain file+.txt")
        .expect("listed");
    assert_eq!((plain.mode.as_str(), plain.size), ("-rw-r-----", Some(6)));
    assert_eq!(
        plain.digest.as_deref(),
        Some("a167b5de67ef5c4068ea4cb21fda74af5873a68f")
    );
    let missing = ListDir {
        dir: "none".into(),
        ..ListDir::default()
    };
    let missing = buildlet
        .list_dir(&missing)
        .await
        .expect_err("list a missing directory");
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{}", missing.chain());

    let paths = [
        "dir".to_owned(),
        "run.sh".to_owned(),
        "never-there".to_owned(),
    ];
    buildlet.remove_all(&paths).await.expect("remove_all");
    buildlet
        .remove_all(&[])
        .await
        .expect("remove_all of nothing");
    let left = buildlet.list_dir(&what).await.expect("list_dir");
    assert!(
        !left
            .iter()
            .any(|entry| entry.name.as_bytes().starts_with(b"dir") || entry.name == "run.sh"),
        "{left:?}"
    );
}

async fn archives(buildlet: &dyn Buildlet) {
    let mut list = FileList::new();
    list.add_bytes(EntryHeader::file("a/one.txt", 0), "one\n");
    list.add_bytes(EntryHeader::file("two.txt", 0), "two\n");
    let mut packed = Vec::new();
    std::io::Read::read_to_end(&mut list.open_gz(), &mut packed).expect("pack in memory");
    buildlet
        .put_tar(in_pieces(packed), "tree")
        .await
        .expect("put_tar");
    let read = buildlet
        .exec(
            Exec::new("/bin/cat")
                .arg("a/one.txt")
                .arg("two.txt")
                .dir("tree"),
        )
        .await
        .expect("exec");
    assert_eq!(read.text(), "one\ntwo\n");

    let bad = buildlet
        .put_tar(once("no gzip"), "tree")
        .await
        .expect_err("put_tar of no archive");
    assert_eq!(bad.kind(), ErrorKind::Invalid, "{}", bad.chain());

    let got = collect(buildlet.get_tar("tree").await.expect("get_tar"))
        .await
        .expect("whole archive");
    buildlet
        .put_tar(in_pieces(got), "copy")
        .await
        .expect("put_tar of a got archive");
    let read = buildlet
        .exec(
            Exec::new("/bin/cat")
                .arg("copy/a/one.txt")
                .arg("copy/two.txt"),
        )
        .await
        .expect("exec");
    assert_eq!(read.text(), "one\ntwo\n");
}

/// Pieces of many sizes, as networks make them.
fn in_pieces(bytes: Vec<u8>) -> ByteStream {
    let pieces: Vec<_> = bytes
        .chunks(7)
        .map(|piece| Ok(bytes::Bytes::copy_from_slice(piece)))
        .collect();
    Box::pin(futures::stream::iter(pieces))
}

async fn commands(buildlet: &dyn Buildlet) {
    let cases = [
        ("echo out; echo err >&2", ExecOutcome::Ok, "out\nerr\n"),
        ("echo x; exit 7", ExecOutcome::Exit(7), "x\n"),
        ("kill -9 $$", ExecOutcome::Signal("killed".into()), ""),
    ];
    for (line, outcome, text) in cases {
        let done = buildlet.exec(Exec::shell(line)).await.expect("exec");
        assert_eq!(
            (done.outcome(), done.text().as_str()),
            (&outcome, text),
            "{line}"
        );
    }
    let nothing = buildlet
        .exec(Exec::new("/no/such/program"))
        .await
        .expect("exec of nothing");
    assert!(
        matches!(nothing.outcome(), ExecOutcome::NotStarted(_)),
        "{:?}",
        nothing.outcome()
    );

    let env = Exec::shell("printf '%s|' \"$A\" \"$B\" \"$1\"")
        .arg("sh")
        .arg("&=%+é")
        .env("A", "1 & 2=3")
        .env("B", "x");
    assert_eq!(
        buildlet.exec(env).await.expect("exec").text(),
        "1 & 2=3|x|&=%+é|"
    );
    let mut path = Exec::shell("echo $PATH");
    path.path = Some(vec![
        "/first".into(),
        "$PATH".into(),
        "$WORKDIR/last".into(),
    ]);
    let text = buildlet.exec(path).await.expect("exec").text();
    assert!(
        text.starts_with("/first:") && text.trim_end().ends_with("/last") && !text.contains('$'),
        "{text:?}"
    );

    output_comes_while_it_runs(buildlet).await;
    let much = buildlet
        .exec(Exec::shell("head -c 3000000 /dev/zero"))
        .await
        .expect("exec");
    assert_eq!(much.dropped_bytes() + much.bytes().len() as u64, 3_000_000);
}

/// The command waits for a file that is put only when its first line has been seen.
async fn output_comes_while_it_runs(buildlet: &dyn Buildlet) {
    let line = "echo first; while [ ! -e go-on ]; do sleep 0.01; done; echo last";
    let mut stream = buildlet.stream(Exec::shell(line)).await.expect("stream");
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await {
        match event.expect("output") {
            ExecEvent::Output(bytes) => {
                let begins = seen.is_empty();
                seen.extend_from_slice(&bytes);
                if begins {
                    buildlet.put("go-on", 0o644, once("")).await.expect("put");
                }
            }
            ExecEvent::Ended(outcome) => assert_eq!(outcome, ExecOutcome::Ok),
        }
    }
    assert_eq!(seen, b"first\nlast\n");
    buildlet
        .remove_all(&["go-on".to_owned()])
        .await
        .expect("remove_all");
}

/// Drives a buildlet that knows them through the calls for commands that go on by themselves.
///
/// # Panics
/// When something is not as the trait promises; the message tells what.
pub async fn detached_contract(buildlet: &dyn Buildlet) {
    let id = ExecId::new("contract-1").expect("valid id");
    let unknown = buildlet
        .exec_status(&id)
        .await
        .expect_err("status of an unknown command");
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{}", unknown.chain());
    let unknown = buildlet
        .attach(&id, 0)
        .await
        .err()
        .expect("attach to an unknown command");
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{}", unknown.chain());

    let line = "echo one; while [ ! -e go-on ]; do sleep 0.01; done; echo two; exit 3";
    let exec = Exec::shell(line).id(id.clone());
    let started = buildlet.start(exec.clone()).await.expect("start");
    assert!(
        started.outcome.is_none() && started.pid.is_some(),
        "{started:?}"
    );
    let again = buildlet.start(exec).await.expect("start again");
    assert_eq!(again.pid, started.pid);

    // One reader goes away in the middle; the command does not mind.
    let mut leaving = buildlet.attach(&id, 0).await.expect("attach");
    assert_eq!(
        leaving.next().await.expect("output").expect("output"),
        ExecEvent::Output("one\n".into())
    );
    drop(leaving);
    buildlet.put("go-on", 0o644, once("")).await.expect("put");
    for (offset, text) in [(0, "one\ntwo\n"), (2, "e\ntwo\n"), (8, "")] {
        let events = buildlet.attach(&id, offset).await.expect("attach");
        assert_eq!(
            whole(events).await,
            (text.into(), ExecOutcome::Exit(3)),
            "from {offset}"
        );
    }
    let ended = buildlet.exec_status(&id).await.expect("exec_status");
    assert_eq!(
        (ended.outcome, ended.output_bytes),
        (Some(ExecOutcome::Exit(3)), 8)
    );
    buildlet.kill(&id).await.expect("kill of an ended command");

    let id = ExecId::new("contract-2").expect("valid id");
    buildlet
        .start(Exec::shell("echo $$; sleep 1000 & wait").id(id.clone()))
        .await
        .expect("start");
    let mut events = buildlet.attach(&id, 0).await.expect("attach");
    assert!(matches!(
        events.next().await,
        Some(Ok(ExecEvent::Output(_)))
    ));
    buildlet.kill(&id).await.expect("kill");
    assert_eq!(whole(events).await.1, ExecOutcome::Killed);
}

async fn whole(mut events: build_core::buildlet::ExecStream) -> (String, ExecOutcome) {
    let mut text = Vec::new();
    while let Some(event) = events.next().await {
        match event.expect("output") {
            ExecEvent::Output(bytes) => text.extend_from_slice(&bytes),
            ExecEvent::Ended(outcome) => return (String::from_utf8(text).expect("text"), outcome),
        }
    }
    panic!("the stream ended before the command did");
}
