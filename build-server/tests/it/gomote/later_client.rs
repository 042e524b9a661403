//! Our client by the interface of later years, against our server.

use build_client::Timeouts;
use build_client::gomote::{Api, Credentials, GomoteClient, run};
use build_client::instance::{CoordinatorInstance, TlsOptions};
use build_core::ErrorKind;
use build_core::buildlet::{Buildlet, Exec, ExecEvent, ExecOutcome, ExecStream, FileMode, ListDir};
use build_core::ids::ExecId;
use build_server::gomote::Settings;
use build_server::store::Store;
use futures::StreamExt as _;

use super::served::ServedPool;
use super::{BUILDER, Doors, Hall, SOON, master};

fn client(hall: &Hall, user: &str, api: Api) -> GomoteClient {
    let instance = CoordinatorInstance::parse(&hall.address.to_string()).unwrap();
    let credentials = Credentials::User {
        name: user.into(),
        token: master().key_of(&format!("user-{user}")),
    };
    let options = TlsOptions::new();
    let later = instance.dialer(&options.clone().with_protocols(&["h2"]));
    let timeouts = Timeouts::default().with_reattach(SOON);
    GomoteClient::new(instance.dialer(&options).unwrap(), &credentials)
        .with_grpc(later.unwrap(), true, None, api)
        .unwrap()
        .with_timeouts(timeouts)
}

async fn next(output: &mut ExecStream) -> ExecEvent {
    let event = tokio::time::timeout(SOON, output.next()).await;
    event.unwrap().unwrap().unwrap()
}

async fn names(machine: &dyn Buildlet, dir: &str) -> Vec<String> {
    let what = ListDir {
        dir: dir.into(),
        ..ListDir::default()
    };
    let entries = machine.list_dir(&what).await.unwrap();
    entries
        .into_iter()
        .map(|entry| entry.name.to_string())
        .collect()
}

#[tokio::test]
async fn everything_goes_by_calls_and_addresses() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    // Where both are spoken, it is that of 2020 unless the other one is asked for.
    let both = client(&hall, "alice", Api::Auto);
    let older = both.create(BUILDER, |_| {}).await.unwrap();
    assert_eq!(older.name, "user-alice-linux-amd64-localdev-0");

    let alice = client(&hall, "alice", Api::Grpc);
    alice.destroy(&older.name).await.unwrap();
    let created = alice.create(BUILDER, |_| {}).await.unwrap();
    assert_eq!(created.name, "alice-linux-amd64-localdev-0");
    let listed = alice.list().await.unwrap();
    assert_eq!((listed.len(), &listed[0].name), (1, &created.name));
    assert!(build_client::gomote::seconds_until(&listed[0].expires).unwrap() > 1700);

    let machine = alice.machine(&created.name);
    assert!(machine.status().await.unwrap().detached);
    let dir = machine.work_dir().await.unwrap();
    let tool = "#!/bin/sh\necho in $PWD; exit 7\n";
    let mode = FileMode::from_unix(0o100_755).bits();
    let put = machine.put("dir/tool", mode, build_client::once(tool));
    put.await.unwrap();
    let ran = machine.exec(Exec::in_work_dir("dir/tool")).await.unwrap();
    let said = (ran.text(), ran.outcome().clone());
    assert_eq!(said, (format!("in {dir}/dir\n"), ExecOutcome::Exit(7)));
    let absent = machine
        .exec(Exec::in_work_dir("dir/nothing"))
        .await
        .unwrap();
    let said = absent.outcome().to_string();
    assert!(said.contains("no such file or directory"), "{said}");

    let tgz = machine.get_tar("dir").await.unwrap();
    machine.put_tar(tgz, "copy").await.unwrap();
    assert_eq!(names(&*machine, "copy").await, ["tool"]);
    machine.remove_all(&["copy".into()]).await.unwrap();
    let left = names(&*machine, "").await;
    assert!(
        left.contains(&"dir/".into()) && !left.contains(&"copy/".into()),
        "{left:?}"
    );
    let out = machine.remove_all(&["../out".into()]).await;
    assert_eq!(out.unwrap_err().kind(), ErrorKind::Invalid);

    let key = alice.ssh_ticket(&created.name, "ssh-ed25519 AAAA").await;
    assert!(key.unwrap().is_none(), "this farm has no gateway");
    let port = alice.port(&created.name, 22).await;
    assert_eq!(port.err().unwrap().kind(), ErrorKind::Unsupported);
    // What is somebody else's is not told, and not touched.
    let mallory = client(&hall, "mallory", Api::Grpc);
    assert!(mallory.list().await.unwrap().is_empty());
    let foreign = mallory.machine(&created.name);
    let id = ExecId::new("e1").unwrap();
    assert_eq!(
        foreign.status().await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert_eq!(
        foreign.kill(&id).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    let stolen = foreign.attach(&id, 0).await.err().unwrap();
    assert_eq!(stolen.kind(), ErrorKind::Denied);

    alice.destroy(&created.name).await.unwrap();
    let gone = alice.destroy(&created.name).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    hall.stop().await;
}

#[tokio::test]
async fn a_server_of_later_years_alone_is_found_out() {
    let pool = ServedPool::new(1);
    let doors = Doors {
        later_alone: true,
        ..Doors::default()
    };
    let (hall, _) = Hall::open(&pool, Store::memory(), Settings::default(), None, doors).await;
    let alice = client(&hall, "alice", Api::Auto);
    let created = alice.create(BUILDER, |_| {}).await.unwrap();
    assert_eq!(created.name, "alice-linux-amd64-localdev-0");
    let machine = alice.machine(&created.name);
    let ran = machine.exec(Exec::shell("echo here")).await.unwrap();
    assert_eq!(ran.text(), "here\n");
    let unknown = alice.create("nosuch", |_| {}).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Invalid, "{unknown}");
    // By the other interface alone there is nobody.
    let older = client(&hall, "alice", Api::Http).list().await.unwrap_err();
    assert_eq!(older.kind(), ErrorKind::Unsupported, "{older}");
    hall.stop().await;
}

#[tokio::test]
async fn a_run_by_calls_goes_on_over_a_restart_without_a_lost_or_doubled_byte() {
    let pool = ServedPool::new(1);
    let store = Store::memory();
    let hall = Hall::start_with(&pool, store.clone(), Settings::default(), None).await;
    let alice = client(&hall, "alice", Api::Grpc);
    let created = alice.create(BUILDER, |_| {}).await.unwrap();
    let machine = alice.machine(&created.name);
    let line = "for n in 1 2 3 4 5; do echo line $n; done; until [ -e go-on ]; do sleep 0.05; done; for n in 6 7 8 9; do echo line $n; done; exit 7";
    let id = ExecId::new("e1").unwrap();
    let running = run(&*machine, Exec::shell(line), id.clone()).await.unwrap();
    assert_eq!(running.detached, Some(id.clone()));
    let (mut output, mut all) = (running.output, Vec::new());
    while !all.ends_with(b"line 5\n") {
        match next(&mut output).await {
            ExecEvent::Output(bytes) => all.extend_from_slice(&bytes),
            ExecEvent::Ended(outcome) => panic!("{outcome}"),
        }
    }
    let at = hall.kill().await;
    let reading = async {
        loop {
            match next(&mut output).await {
                ExecEvent::Output(bytes) => all.extend_from_slice(&bytes),
                ExecEvent::Ended(outcome) => break outcome,
            }
        }
    };
    let restart = async {
        let hall = Hall::start_with(&pool, store, Settings::default(), Some(at)).await;
        let machine = client(&hall, "alice", Api::Grpc);
        machine.list().await.unwrap();
        let machine = machine.machine(&created.name);
        let put = machine.put("go-on", 0o644, build_client::once(""));
        put.await.unwrap();
        hall
    };
    let (outcome, hall) = tokio::join!(reading, restart);
    assert_eq!(outcome, ExecOutcome::Exit(7));
    let want: String = (1..=9).map(|n| format!("line {n}\n")).collect();
    assert_eq!(String::from_utf8(all).unwrap(), want);
    let status = machine.exec_status(&id).await.unwrap();
    assert_eq!(status.outcome, Some(ExecOutcome::Exit(7)));

    // One that is told to end does.
    let id = ExecId::new("e2").unwrap();
    let running = run(&*machine, Exec::shell("sleep 1000"), id.clone()).await;
    machine.kill(&id).await.unwrap();
    let ExecEvent::Ended(outcome) = next(&mut running.unwrap().output).await else {
        panic!("it says nothing");
    };
    assert_eq!(outcome.signal(), Some(9), "{outcome}");
    hall.stop().await;
}
