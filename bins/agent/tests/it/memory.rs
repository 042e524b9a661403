//! Memory stays small whatever a command prints.

use build_core::buildlet::ExecEvent;
use futures::StreamExt as _;

use super::*;

/// What the program may need at the most, in KiB.
const MOST_KIB: u64 = 40 << 10;
const PRINTED: u64 = 2 << 30;

/// Most memory the process has had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn count(mut events: build_core::buildlet::ExecStream) -> u64 {
    let mut bytes = 0;
    while let Some(event) = events.next().await {
        if let ExecEvent::Output(piece) = event.unwrap() {
            bytes += piece.len() as u64;
        }
    }
    bytes
}

#[tokio::test]
async fn two_gigabytes_of_output_need_little_memory() {
    let program = Program::start(&[]);
    let print = Exec::shell(format!("head -c {PRINTED} /dev/zero"));
    let begin = Instant::now();
    assert_eq!(
        count(program.client().stream(print.clone()).await.unwrap()).await,
        PRINTED
    );
    let streamed = begin.elapsed();

    let id = ExecId::new("e1").unwrap();
    let mut capped = print.id(id.clone());
    capped.log_bytes = Some(1 << 20);
    let begin = Instant::now();
    program.client().start(capped).await.unwrap();
    assert!(count(program.client().attach(&id, 0).await.unwrap()).await < (1 << 20) + 100);
    let peak = peak_kib(program.child.id());
    eprintln!(
        "2 GiB streamed in {streamed:?}, spooled in {:?}, peak {peak} KiB",
        begin.elapsed()
    );
    assert!(peak <= MOST_KIB, "{peak} KiB");
}
