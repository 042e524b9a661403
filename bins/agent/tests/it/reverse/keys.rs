//! Keys that end while their machines are there, and what is remembered of machines.

use build_core::event::Principal;
use build_server::who::{Directory, NewKey};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_key_is_revoked_is_sent_away_and_its_past_survives() {
    let (certificates, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let directory = Directory::open(data.path()).unwrap();
    let owner = Principal::person("owner");
    let new = NewKey::of_machine(KIND, "box1").unwrap();
    let made = directory.create_key(&owner, new).unwrap();
    let pool = || {
        ReversePool::builder(directory.clone())
            .timing(quick())
            .remember_in(data.path().join("reverse"))
            .build()
    };
    let door = Door::of(pool(), certificates.path(), None).await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut command = Agent::command(dir.path(), "box1", door.address, certificates.path());
    let key = dir.path().join("token");
    std::fs::write(&key, made.token.reveal()).unwrap();
    command.arg(format!("--key-file={}", key.display()));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.unwrap();
    let mut agent = Agent { child, dir };
    wait_for("it is there", || door.pool.connected() == 1).await;
    let lease = door.pool.acquire(&request(1, "box1")).await.unwrap();
    let id = ExecId::new("e1").unwrap();
    lease.buildlet().start(counting(&id)).await.unwrap();

    // Another process, so to say: nobody tells the one that the machine is connected to.
    let elsewhere = Directory::open(data.path()).unwrap();
    let begin = std::time::Instant::now();
    elsewhere.revoke_key(&owner, &made.key.id).unwrap();
    wait_for("it is sent away", || door.pool.connected() == 0).await;
    eprintln!("sent away {:?} after its key was revoked", begin.elapsed());
    let lost = lease.renew(TTL).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::NotFound);
    assert!(lost.to_string().contains("not good any more"), "{lost}");
    // It asks once more, and is told that it need not ask again.
    wait_for("it has ended", || agent.child.try_wait().unwrap().is_some()).await;
    assert_eq!(agent.child.try_wait().unwrap().unwrap().code(), Some(1));
    assert_eq!(door.pool.refusals().len(), 2, "sent away, and refused");
    drop(lease);
    door.pool.flush().await.unwrap();
    let before = door.pool.history();
    door.close().await;

    let again = pool();
    let past = again.history();
    assert_eq!(past, before);
    assert_eq!((past[0].registrations, past[0].leases), (1, 1));
    assert!(!past[0].busy.is_zero());
    let words = past[0].last_words.as_deref().unwrap();
    assert!(words.contains("not good any more"), "{past:?}");
}
