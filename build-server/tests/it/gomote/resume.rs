//! Our client through a coordinator that is killed and comes back.

use build_client::Timeouts;
use build_client::gomote::{Credentials, GomoteClient, run};
use build_client::instance::{CoordinatorInstance, TlsOptions};
use build_core::buildlet::{Exec, ExecEvent, ExecOutcome};
use build_core::ids::ExecId;
use build_server::gomote::Settings;
use build_server::store::Store;
use futures::StreamExt as _;

use super::served::ServedPool;
use super::{BUILDER, Hall, SOON, master};

fn client(hall: &Hall, user: &str) -> GomoteClient {
    let instance = CoordinatorInstance::parse(&hall.address.to_string()).unwrap();
    let credentials = Credentials::User {
        name: user.into(),
        token: master().key_of(&format!("user-{user}")),
    };
    let dial = instance.dialer(&TlsOptions::new()).unwrap();
    GomoteClient::new(dial, &credentials).with_timeouts(Timeouts::default().with_reattach(SOON))
}

#[tokio::test]
async fn a_run_goes_on_over_a_restart_without_a_lost_or_doubled_byte() {
    let pool = ServedPool::new(1);
    let store = Store::memory();
    let hall = Hall::start_with(&pool, store.clone(), Settings::default(), None).await;
    let alice = client(&hall, "alice");
    let created = alice.create(BUILDER, |_| {}).await.unwrap();
    assert_eq!(created.name, "user-alice-linux-amd64-localdev-0");
    assert_eq!(alice.list().await.unwrap()[0].name, created.name);
    let machine = alice.machine(&created.name);
    let line = "for n in 1 2 3 4 5; do echo line $n; done; until [ -e go-on ]; do sleep 0.05; done; for n in 6 7 8 9; do echo line $n; done; exit 7";
    let running = run(&*machine, Exec::shell(line), ExecId::new("e1").unwrap())
        .await
        .unwrap();
    assert!(running.detached.is_some());
    let (mut output, mut all) = (running.output, Vec::new());
    while !all.ends_with(b"line 5\n") {
        match tokio::time::timeout(SOON, output.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            ExecEvent::Output(bytes) => all.extend_from_slice(&bytes),
            ExecEvent::Ended(outcome) => panic!("{outcome}"),
        }
    }
    let at = hall.kill().await;
    let reading = async {
        loop {
            match tokio::time::timeout(SOON, output.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap()
            {
                ExecEvent::Output(bytes) => all.extend_from_slice(&bytes),
                ExecEvent::Ended(outcome) => break outcome,
            }
        }
    };
    let restart = async {
        let hall = Hall::start_with(&pool, store, Settings::default(), Some(at)).await;
        // A client of its own: the first one is busy coming back.
        let machine = client(&hall, "alice").machine(&created.name);
        machine
            .put("go-on", 0o644, build_client::once(""))
            .await
            .unwrap();
        hall
    };
    let (outcome, hall) = tokio::join!(reading, restart);
    assert_eq!(outcome, ExecOutcome::Exit(7));
    let want: String = (1..=9).map(|n| format!("line {n}\n")).collect();
    assert_eq!(String::from_utf8(all).unwrap(), want);
    client(&hall, "alice").destroy(&created.name).await.unwrap();
    let gone = client(&hall, "alice")
        .destroy(&created.name)
        .await
        .unwrap_err();
    assert_eq!(gone.kind(), build_core::ErrorKind::NotFound, "{gone}");
    hall.stop().await;
}
