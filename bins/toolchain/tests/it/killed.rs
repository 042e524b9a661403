//! Downloads whose process is killed, and several processes at once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::story::{Story, archive_name, text};

/// Killed by SIGKILL once so many bytes were received, again and again; the last run goes on.
#[test]
fn a_killed_download_goes_on() {
    let story = Story::new();
    story.put("go1.9", 400_000);
    let part = story
        .home
        .path()
        .join(format!("sdk/.farmer/{}.part", archive_name("go1.9")));
    let received = || std::fs::metadata(&part).map_or(0, |part| part.len());
    for more in [100, 30_000, 77_777, 150_000] {
        // A body stops at the gate; what came before it is on the disk when the process is killed.
        story.mirror.close_gate(more);
        let wanted = received() + more as u64;
        let mut download = story.program("go1.9");
        let mut download = download
            .arg("download")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while received() < wanted && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(download.try_wait().unwrap(), None);
        download.kill().unwrap();
        download.wait().unwrap();
        assert_eq!(received(), wanted);
        assert!(!story.root("go1.9").exists());
        story.mirror.open_gate();
    }
    let done = story.run("go1.9", &["download"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let ranged = format!("GET /{} bytes=", archive_name("go1.9"));
    let requests = story.mirror.requests();
    assert!(
        requests.iter().any(|request| request.starts_with(&ranged)),
        "{requests:?}"
    );
    assert_eq!(
        std::fs::metadata(story.root("go1.9").join("pkg/noise"))
            .unwrap()
            .len(),
        400_000
    );
}

#[test]
fn processes_at_once_share_the_work() {
    let story = Story::new();
    story.put("go1.9", 100_000);
    story.mirror.close_gate(50_000);
    let start = || {
        let mut download = story.program("go1.9");
        download.arg("download").stderr(Stdio::piped());
        download.spawn().unwrap()
    };
    let first = start();
    assert!(
        story
            .mirror
            .wait_for(&format!("GET /{}", archive_name("go1.9")))
    );
    let others = [start(), start()];
    story.mirror.open_gate();
    for download in std::iter::once(first).chain(others) {
        let done = download.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    let archive = format!("GET /{}", archive_name("go1.9"));
    let requests = story.mirror.requests();
    assert_eq!(
        requests
            .iter()
            .filter(|request| **request == archive)
            .count(),
        1,
        "{requests:?}"
    );
    assert_eq!(
        std::fs::read_dir(story.home.path().join("sdk/.farmer"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_signal_ends_a_download_cleanly() {
    let story = Story::new();
    story.put("go1.9", 100_000);
    story.mirror.close_gate(50_000);
    let mut download = story.program("go1.9");
    let download = download
        .arg("download")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(
        story
            .mirror
            .wait_for(&format!("GET /{}", archive_name("go1.9")))
    );
    let id = rustix::process::Pid::from_child(&download);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let done = download.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{}", text(&done.stderr));
    story.mirror.open_gate();
    assert!(story.run("go1.9", &["download"]).status.success());
}
