//! Runs that are silent for an hour keep their machine, however they were started.

use std::time::Duration;

use build_client::gomote::{Credentials, GomoteClient, run};
use build_client::instance::{CoordinatorInstance, TlsOptions};
use build_core::buildlet::{Exec, ExecEvent, ExecOutcome};
use build_core::clock::{ManualClock, Timestamp};
use build_core::ids::ExecId;
use build_server::gomote::Settings;
use build_server::store::Store;
use futures::StreamExt as _;

use super::rpc::{all, shell};
use super::served::ServedPool;
use super::{Doors, Hall, SOON, master};

const HOUR: Duration = Duration::from_secs(3600);

/// A hall whose sessions go by a clock of the test's.
async fn hall(pool: &ServedPool) -> (Hall, ManualClock) {
    let clock = ManualClock::at(Timestamp::from_seconds(1));
    let doors = Doors {
        clock: Some(clock.clone()),
        ..Doors::default()
    };
    let settings = Settings::default();
    let (hall, _) = Hall::open(pool, Store::memory(), settings, None, doors).await;
    (hall, clock)
}

fn client(hall: &Hall) -> GomoteClient {
    let instance = CoordinatorInstance::parse(&hall.address.to_string()).unwrap();
    let credentials = Credentials::User {
        name: "alice".into(),
        token: master().key_of("user-alice"),
    };
    GomoteClient::new(instance.dialer(&TlsOptions::new()).unwrap(), &credentials)
}

impl Hall {
    /// An hour later, in small steps, as it would be looked at.
    async fn an_hour_later(&self, clock: &ManualClock) {
        for _ in 0..12 {
            clock.advance(HOUR / 12);
            self.gomote.sessions().sweep().await;
        }
    }
}

#[tokio::test]
async fn a_run_of_an_hour_without_output_keeps_its_machine() {
    let pool = ServedPool::new(1);
    let (hall, clock) = hall(&pool).await;
    let name = hall.create("alice").await;
    let wait = "until [ -e go-on ]; do sleep 0.02; done; rm go-on; echo done";
    let go_on = async || {
        let touched = hall.shell("alice", &name, "touch go-on").await;
        assert_eq!(touched.state(), "ok");
    };
    // As in 2020: the command belongs to its request.
    let later = async {
        let begun = "until [ -e begun ]; do sleep 0.02; done";
        hall.shell("alice", &name, begun).await;
        hall.an_hour_later(&clock).await;
        assert_eq!(hall.list("alice").await, [name.as_str()]);
        go_on().await;
    };
    let line = format!("touch begun; {wait}");
    let (ran, ()) = tokio::join!(hall.shell("alice", &name, &line), later);
    assert_eq!((ran.text().as_str(), ran.state()), ("done\n", "ok"));

    // As in later years: it belongs to its call.
    let alice = hall.person("alice").await;
    let asked = alice.asks(shell(&name, wait));
    let begun = alice.client.clone().execute_command(asked).await.unwrap();
    hall.an_hour_later(&clock).await;
    go_on().await;
    let (answers, end) = all(begun.into_inner()).await;
    end.unwrap();
    let output: Vec<u8> = answers.into_iter().flat_map(|one| one.output).collect();
    assert_eq!(output, b"done\n");

    // By itself, with somebody who listens.
    let machine = client(&hall).machine(&name);
    let running = run(&*machine, Exec::shell(wait), ExecId::new("e1").unwrap()).await;
    let mut output = running.unwrap().output;
    hall.an_hour_later(&clock).await;
    go_on().await;
    let mut events = Vec::new();
    while let Some(event) = tokio::time::timeout(SOON, output.next()).await.unwrap() {
        events.push(event.unwrap());
    }
    assert_eq!(events.last(), Some(&ExecEvent::Ended(ExecOutcome::Ok)));
    drop(output);

    // By itself, and nobody looks.
    let id = ExecId::new("e2").unwrap();
    machine
        .start(Exec::shell(wait).id(id.clone()))
        .await
        .unwrap();
    hall.an_hour_later(&clock).await;
    assert_eq!(hall.list("alice").await, [name.as_str()], "it runs");
    go_on().await;
    let mut output = machine.attach(&id, 0).await.unwrap();
    let said = tokio::time::timeout(SOON, output.next()).await.unwrap();
    assert_eq!(said.unwrap().unwrap(), ExecEvent::Output("done\n".into()));
    while tokio::time::timeout(SOON, output.next())
        .await
        .unwrap()
        .is_some()
    {}
    drop((output, machine));

    // The control: nothing runs, so it ends.
    hall.an_hour_later(&clock).await;
    assert!(hall.list("alice").await.is_empty());
    hall.stop().await;
}

#[tokio::test]
async fn a_command_that_never_ends_keeps_its_machine_for_a_day() {
    let pool = ServedPool::new(1);
    let (hall, clock) = hall(&pool).await;
    let name = hall.create("alice").await;
    let machine = client(&hall).machine(&name);
    let id = ExecId::new("e1").unwrap();
    machine
        .start(Exec::shell("sleep 100000").id(id))
        .await
        .unwrap();
    drop(machine);
    for _ in 0..23 {
        clock.advance(HOUR);
        hall.gomote.sessions().sweep().await;
        assert_eq!(
            hall.gomote.sessions().owner_of(&name).as_deref(),
            Some("alice")
        );
    }
    clock.advance(HOUR);
    hall.gomote.sessions().sweep().await;
    assert!(hall.gomote.sessions().owner_of(&name).is_none());
    let gone = hall.shell("alice", &name, "true").await;
    let (_, text) = gone.refusal();
    assert!(
        text.contains("nobody used it for 86400 s, and its command did not end"),
        "{text}"
    );
    hall.stop().await;
}
