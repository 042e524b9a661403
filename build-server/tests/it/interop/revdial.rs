//! Both ends of revdial against the Go library.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use build_core::revdial::Error;
use build_server::supervise::Supervisor;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::hall::{Hall, LIMIT, Quirk, dial};
use super::machine::{self, pattern};
use super::{compat, peers};

const DIALS: usize = 1000;
const LARGE: usize = 10 << 20;

fn go(programs: &Path, args: &[&str]) -> Child {
    Command::new(programs.join("revdialpeer"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn our_dialer_reaches_go_machines() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    let mut hall = Hall::start(Quirk::None).await;
    let mut machine = go(programs, &["-listen", &hall.address]);
    let dialer = timeout(LIMIT, hall.machines.recv()).await.unwrap().unwrap();

    // The first words go out at once: nothing of them may be lost behind the 101.
    for i in 0..DIALS {
        let mut stream = dial(&dialer).await;
        let word = format!("dial {i}");
        stream
            .write_all(format!("e{word}").as_bytes())
            .await
            .unwrap();
        stream.flush().await.unwrap();
        let mut got = vec![0; word.len()];
        timeout(LIMIT, stream.read_exact(&mut got))
            .await
            .expect("not lost")
            .unwrap();
        assert_eq!(got, word.as_bytes());
    }

    let mut stream = dial(&dialer).await;
    stream.write_all(b"s").await.unwrap();
    stream
        .write_all(&(LARGE as u64).to_be_bytes())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut got = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut got))
        .await
        .unwrap()
        .unwrap();
    let want = pattern(LARGE);
    assert!(got == want, "{} bytes", got.len());

    // The sending half alone is closed: the answer still comes.
    let mut stream = dial(&dialer).await;
    stream.write_all(b"r").await.unwrap();
    stream.write_all(&want).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = String::new();
    timeout(LIMIT, stream.read_to_string(&mut said))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        said,
        format!("{LARGE} {} true", hex::encode(Sha256::digest(&want)))
    );

    let mut stream = dial(&dialer).await;
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    let mut said = Vec::new();
    let cut = timeout(LIMIT, stream.read_to_end(&mut said)).await.unwrap();
    cut.expect_err("a cut connection does not end in order");

    // Dials that are given up: their connections come, and serve nobody.
    for _ in 0..20 {
        let wanted = dialer.dial();
        tokio::pin!(wanted);
        tokio::select! {
            biased;
            _ = &mut wanted => panic!("the machine has not even been told"),
            () = std::future::ready(()) => {}
        }
    }
    for i in 0..20 {
        let mut stream = dial(&dialer).await;
        stream
            .write_all(format!("e{i:02}").as_bytes())
            .await
            .unwrap();
        stream.flush().await.unwrap();
        let mut got = [0; 2];
        timeout(LIMIT, stream.read_exact(&mut got))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(got, format!("{i:02}").as_bytes());
    }
    let mut stale = 0;
    while stale < 20 {
        timeout(LIMIT, hall.refused.recv())
            .await
            .expect("late connections are refused")
            .unwrap();
        stale += 1;
    }
    assert_eq!(
        dialer.ended(),
        None,
        "the control connection has survived it all"
    );

    machine.kill().await.unwrap();
    let error = timeout(LIMIT, dialer.dial())
        .await
        .unwrap()
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::Closed | Error::Lost(_)), "{error}");
    assert!(hall.registry.is_empty());
    hall.end().await;
    let one_record = a_go_machine_loses_what_shares_a_record_with_the_101(programs).await;
    compat::record(
        &programs.join("revdialpeer"),
        &[
            compat::Row {
                direction: "our dialer, Go listener",
                case: "1,000 dials with immediate first writes",
                seen: "every first word comes back",
                control: one_record,
            },
            compat::Row {
                direction: "our dialer, Go listener",
                case: "10 MiB each way, half-closed",
                seen: "equal, and the answer comes after the half-close",
                control: "cut instead of closed: an error, not an end",
            },
            compat::Row {
                direction: "our dialer, Go listener",
                case: "20 dials given up before their connections come",
                seen: "each late connection is answered 400, the next 20 dials get their own",
                control: "a path without the number of its dial, as the Go dialer writes it: nobody's",
            },
        ],
    );
}

/// Trap T2: the Go listener throws away what it has buffered.
async fn a_go_machine_loses_what_shares_a_record_with_the_101(programs: &Path) -> &'static str {
    let mut hall = Hall::start(Quirk::OneRecord).await;
    let mut machine = go(programs, &["-listen", &hall.address]);
    let mut lines = BufReader::new(machine.stdout.take().unwrap()).lines();
    let said = timeout(LIMIT, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(said.as_deref(), Some("ok registered"));
    // It would fetch the connection at once, and be refused: nobody waits for it.
    let fetched = timeout(Duration::from_millis(500), hall.refused.recv()).await;
    assert!(fetched.is_err(), "the line was read after all");
    machine.kill().await.unwrap();
    hall.end().await;
    "101 and the first line in one TLS record: the line is lost"
}

#[tokio::test]
async fn go_servers_reach_our_machines() {
    let Some(programs) = peers::go2020() else {
        return;
    };
    let mut server = go(
        programs,
        &["-dial", "-count", "1000", "-size", &LARGE.to_string()],
    );
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let first = timeout(LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let address = first
        .strip_prefix("listening ")
        .expect("an address")
        .to_owned();
    let tasks = Supervisor::new("machine");
    let serving = machine::register(address, &tasks).await;
    let mut said = Vec::new();
    while let Some(line) = timeout(3 * LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap()
    {
        said.push(line);
    }
    assert!(server.wait().await.unwrap().success(), "{said:?}");
    assert_eq!(
        said,
        [
            "ok dials 1000",
            "ok large from the machine 10485760",
            "ok large to the machine, half closed",
            "ok cut",
            "ok done",
        ]
    );
    assert!(matches!(
        serving.await.unwrap(),
        Error::Closed | Error::Lost(_)
    ));
    // Take-over of an answer with the version HTTP/0.0, by a reader that knows HTTP only.
    let strict = {
        let mut fields = [httparse::EMPTY_HEADER; 4];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(b"HTTP/0.0 101 Switching Protocols\r\n\r\n")
    };
    assert_eq!(strict, Err(httparse::Error::Version));
    compat::record(
        &programs.join("revdialpeer"),
        &[
            compat::Row {
                direction: "Go dialer, our listener",
                case: "registration answered HTTP/0.0 101, then 1,000 dials with immediate first writes",
                seen: "every first word comes back",
                control: "a strict reader of the same answer: not HTTP",
            },
            compat::Row {
                direction: "Go dialer, our listener",
                case: "10 MiB each way, half-closed",
                seen: "equal, and the answer comes after the half-close",
                control: "cut after half a word: the half, and nothing else",
            },
        ],
    );
}
