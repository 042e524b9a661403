//! The network between machine and coordinator fails for a while.

use super::*;
use tokio::sync::watch;

/// A road that can be blocked: bytes go nowhere then, and nobody is told.
struct Road {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
    tasks: Supervisor,
}

impl Road {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_open = watch::Sender::new(true);
        let (tasks, open) = (Supervisor::new("road"), is_open.clone());
        let group = tasks.clone();
        tasks.spawn("accept", async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut open = open.subscribe();
                group.spawn("carry", async move {
                    if *open.borrow_and_update() {
                        let mut far = TcpStream::connect(target).await.unwrap();
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                            _ = open.changed() => {}
                        }
                        // Nothing is carried, and nobody is told, until the road is open again.
                        let _ = open.wait_for(|open| *open).await;
                    } else {
                        let _ = open.wait_for(|open| *open).await;
                    }
                });
            }
        });
        Self {
            address,
            is_open,
            tasks,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_the_network_costs_nothing() {
    let certificates = tempfile::tempdir().unwrap();
    let timing = Timing {
        answer: Duration::from_millis(300),
        ..quick()
    };
    let door = Door::open(certificates.path(), None, timing).await;
    let road = Road::to(door.address).await;
    let _agent = Agent::start("box1", road.address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    let lease = door.pool.acquire(&request(1, "box1")).await.unwrap();
    let id = ExecId::new("e1").unwrap();
    lease.buildlet().start(counting(&id)).await.unwrap();
    let mut stream = lease.buildlet().attach(&id, 0).await.unwrap();
    let Some(Ok(ExecEvent::Output(first))) = stream.next().await else {
        panic!("no output")
    };
    road.is_open.send_replace(false);
    wait_for("it is missed", || door.pool.connected() == 0).await;
    let before = lease.renew(Duration::from_secs(5)).await;
    before.expect("it may come back, and lives on until then");
    assert!(door.pool.machines().is_empty(), "nobody is to count on it");
    road.is_open.send_replace(true);
    // The same stream goes on where it was cut.
    let mut text = first.to_vec();
    let outcome = loop {
        match stream.next().await.unwrap().unwrap() {
            ExecEvent::Output(bytes) => text.extend_from_slice(&bytes),
            ExecEvent::Ended(outcome) => break outcome,
        }
    };
    assert_eq!(outcome, ExecOutcome::Ok);
    assert_eq!(String::from_utf8(text).unwrap(), counted());
    assert_eq!(door.pool.status()[0].lease.as_ref(), Some(lease_of(&lease)));
    lease.release().await.unwrap();
    road.tasks.token().cancel();
    let _ = road.tasks.drain(Duration::ZERO).await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_cut_off_for_good_is_lost_and_ends_what_it_ran() {
    let certificates = tempfile::tempdir().unwrap();
    let timing = Timing {
        held: Duration::from_secs(2),
        answer: Duration::from_millis(300),
        ..quick()
    };
    let door = Door::open(certificates.path(), None, timing).await;
    let road = Road::to(door.address).await;
    let agent = Agent::start("box1", road.address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    let mut short = request(1, "box1");
    short.ttl = Duration::from_secs(1);
    let lease = door.pool.acquire(&short).await.unwrap();
    let id = ExecId::new("e1").unwrap();
    let line = "echo $$ >pid; sleep 600";
    let forever = Exec::shell(line).id(id.clone());
    lease.buildlet().start(forever).await.unwrap();
    wait_for("it runs", || agent.work_file("pid").exists()).await;
    wait_for("it runs", || {
        !std::fs::read(agent.work_file("pid")).unwrap().is_empty()
    })
    .await;
    let pid = std::fs::read_to_string(agent.work_file("pid")).unwrap();
    road.is_open.send_replace(false);
    wait_for("it is missed", || door.pool.connected() == 0).await;
    wait_for("what ran has ended", || !super::super::is_alive(pid.trim())).await;
    let lost = loop {
        match lease.renew(short.ttl).await {
            Err(error) if error.kind() == ErrorKind::NotFound => break error,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(lost.to_string().contains("run out"), "{lost}");
    road.is_open.send_replace(true);
    wait_for("it is back", || door.pool.machines().len() == 1).await;
    road.tasks.token().cancel();
    let _ = road.tasks.drain(Duration::ZERO).await;
    door.close().await;
}
