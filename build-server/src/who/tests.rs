//! The directory as a whole.

use std::net::IpAddr;
use std::time::Duration;

use build_core::clock::{ManualClock, Timestamp};
use build_core::event::Principal;
use build_core::key::{GO_DEVELOPMENT_MASTER, MasterKey};

use super::*;

const LOCAL: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn remote() -> Option<IpAddr> {
    Some("192.0.2.7".parse().unwrap())
}

fn owner() -> Principal {
    Principal::person("owner")
}

fn at_start() -> ManualClock {
    ManualClock::at(Timestamp::from_seconds(1_600_000_000))
}

async fn ask(directory: &Directory, token: &str) -> Result<Caller, Refusal> {
    directory.caller(&Credential::bearer(token), remote()).await
}

#[tokio::test]
async fn the_owner_is_known_by_the_token_of_the_data_directory() {
    let data = tempfile::tempdir().unwrap();
    let directory = Directory::open(data.path()).unwrap();
    let token = directory.owner_token().unwrap().token().to_owned();
    let caller = ask(&directory, &token).await.unwrap();
    assert_eq!((caller.role(), caller.user()), (Role::Admin, Some("owner")));
    for wrong in ["", "x", &token[1..], &token.to_uppercase()] {
        let refusal = ask(&directory, wrong).await.unwrap_err();
        assert!(
            matches!(refusal, Refusal::Unknown),
            "{wrong:?}: {refusal:?}"
        );
    }
}

#[tokio::test]
async fn another_process_sees_a_change_at_its_next_question() {
    let data = tempfile::tempdir().unwrap();
    let (farm, person) = (
        Directory::open(data.path()).unwrap(),
        Directory::open(data.path()).unwrap(),
    );
    person.add_user(&owner(), "ann", Role::User, &[]).unwrap();
    let made = person.create_key(&owner(), NewKey::of_user("ann")).unwrap();
    let caller = ask(&farm, made.token.reveal()).await.unwrap();
    assert_eq!((caller.user(), caller.role()), (Some("ann"), Role::User));
    person
        .change_user(&owner(), "ann", Some(Role::Admin), None)
        .unwrap();
    assert!(
        ask(&farm, made.token.reveal())
            .await
            .unwrap()
            .may(Right::Administer)
    );
    assert!(farm.still(&made.key.id).unwrap().is_some());
    person.revoke_key(&owner(), &made.key.id).unwrap();
    let refusal = ask(&farm, made.token.reveal()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Revoked(id) if id == made.key.id));
    assert!(farm.still(&made.key.id).unwrap().is_none());
    farm.flush().unwrap();
    let used = person.keys().unwrap()[0].1.unwrap();
    assert_eq!(used.from, remote());
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_is_rotated_without_a_gap() {
    let clock = at_start();
    let directory = Directory::memory_with(Options::default().clock(clock.clone()));
    directory
        .add_user(&owner(), "ann", Role::User, &[])
        .unwrap();
    let hour = Duration::from_secs(3600);
    let ends = Timestamp::from_seconds(1_600_000_000) + hour;
    let new = NewKey::of_user("ann")
        .until(ends)
        .with_scope("sessions".parse().unwrap());
    let first = directory.create_key(&owner(), new).unwrap();
    clock.advance(hour / 2);
    let second = directory
        .rotate_key(&owner(), &first.key.id, hour / 4)
        .unwrap();
    assert_eq!(second.key.expires, Some(ends + hour / 2));
    for made in [&first, &second] {
        let caller = ask(&directory, made.token.reveal()).await.unwrap();
        assert!(caller.may(Right::Sessions) && !caller.may(Right::Builds));
    }
    clock.advance(hour / 4);
    let refusal = ask(&directory, first.token.reveal()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Expired(_)), "{refusal:?}");
    ask(&directory, second.token.reveal()).await.unwrap();
    let conflict = directory
        .rotate_key(&owner(), &first.key.id, hour)
        .unwrap_err();
    assert_eq!(conflict.kind(), build_core::ErrorKind::Conflict);
    clock.advance(hour);
    assert!(ask(&directory, second.token.reveal()).await.is_err());
}

#[tokio::test]
async fn a_stolen_key_of_a_machine_gives_that_machine_s_rights_alone() {
    let directory = Directory::memory();
    let new = NewKey::of_machine("host-linux-arm64", "board-7").unwrap();
    let stolen = directory.create_key(&owner(), new).unwrap();
    let shown = Credential::builder("host-linux-amd64", stolen.token.reveal());
    let thief = directory.caller(&shown, remote()).await.unwrap();
    let machine = |host_type, name| Right::Register { host_type, name };
    assert!(thief.may(machine("host-linux-arm64", "board-7")));
    for other in [
        machine("host-linux-arm64", "board-8"),
        machine("host-linux-amd64", "board-7"),
        Right::Post("linux-arm64"),
        Right::Sessions,
        Right::Builds,
        Right::Read("secret"),
        Right::Administer,
    ] {
        assert!(!thief.may(other), "{other}");
    }
    assert_eq!(thief.user(), None);
    let as_user = Credential::basic("user-board-7", stolen.token.reveal());
    assert!(directory.caller(&as_user, remote()).await.is_err());
    directory.revoke_key(&owner(), &stolen.key.id).unwrap();
    assert!(directory.caller(&shown, remote()).await.is_err());
}

#[tokio::test]
async fn legacy_keys_make_machines_and_users_and_never_admins() {
    let clock = at_start();
    let master = MasterKey::new("secret-master").unwrap();
    let options = Options::default().clock(clock).master(master.clone());
    let directory = Directory::memory_with(options);
    directory
        .add_user(&owner(), "root", Role::Admin, &[])
        .unwrap();
    directory
        .add_user(&owner(), "guest", Role::Anyone, &[])
        .unwrap();
    let host = "host-linux-jessie";
    let shown = Credential::builder(host, master.key_of(host));
    let caller = directory.caller(&shown, remote()).await.unwrap();
    assert!(
        caller.may(Right::Register {
            host_type: host,
            name: "any"
        }) && caller.is_legacy()
    );
    assert!(caller.may(Right::Post(host)) && !caller.may(Right::Post("linux-amd64")));
    let user = |name: &str| Credential::basic(name.to_owned(), master.key_of(name));
    let ann = directory.caller(&user("user-ann"), remote()).await.unwrap();
    assert_eq!((ann.user(), ann.role()), (Some("ann"), Role::User));
    let root = directory
        .caller(&user("user-root"), remote())
        .await
        .unwrap();
    assert_eq!(root.role(), Role::User);
    let guest = directory
        .caller(&user("user-guest"), remote())
        .await
        .unwrap();
    assert!(!guest.may(Right::Sessions));
    let expiring = master.expiring_key_of("user-ann", 1_600_000_001);
    directory
        .caller(&Credential::basic("user-ann", expiring), remote())
        .await
        .unwrap();
    for wrong in [
        Credential::basic("ann", master.key_of("user-ann")),
        Credential::basic("user-bob", master.key_of("user-ann")),
        Credential::basic("user-", master.key_of("user-")),
        Credential::builder("user-ann", master.key_of("user-ann")),
        Credential::builder("host-*", master.key_of("host-*")),
        Credential::builder("", master.key_of("")),
        Credential::builder(host, ""),
        Credential::basic(
            "user-ann",
            master.expiring_key_of("user-ann", 1_600_000_000),
        ),
    ] {
        let refusal = directory.caller(&wrong, LOCAL).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Unknown), "{wrong:?}");
    }
    directory.refuse_name(&owner(), host).unwrap();
    assert!(directory.caller(&shown, remote()).await.is_err());
    directory.allow_name(&owner(), host).unwrap();
    directory.caller(&shown, remote()).await.unwrap();
    directory
        .add_user(&owner(), "ann", Role::User, &[])
        .unwrap();
    directory.remove_user(&owner(), "ann").unwrap();
    assert!(directory.caller(&user("user-ann"), remote()).await.is_err());
}

#[tokio::test]
async fn the_public_master_key_counts_in_development_on_loopback_alone() {
    let public = MasterKey::new(GO_DEVELOPMENT_MASTER).unwrap();
    let host = "host-linux-amd64-localdev";
    let shown = Credential::builder(host, public.key_of(host));
    let development = Directory::memory_with(Options::default().development());
    development.caller(&shown, LOCAL).await.unwrap();
    let mapped = Some("::ffff:127.0.0.1".parse().unwrap());
    development.caller(&shown, mapped).await.unwrap();
    for elsewhere in [None, remote(), Some("2001:db8::1".parse().unwrap())] {
        assert!(
            development.caller(&shown, elsewhere).await.is_err(),
            "{elsewhere:?}"
        );
    }
    assert!(Directory::memory().caller(&shown, LOCAL).await.is_err());
}

#[tokio::test]
async fn master_keys_are_exchanged_while_the_farm_runs() {
    let data = tempfile::tempdir().unwrap();
    let (farm, person) = (
        Directory::open(data.path()).unwrap(),
        Directory::open(data.path()).unwrap(),
    );
    assert!(person.master().is_err());
    for bad in ["", " \n", GO_DEVELOPMENT_MASTER, "two\nlines"] {
        assert!(
            person.change_master(&owner(), Some(bad)).is_err(),
            "{bad:?}"
        );
    }
    person.change_master(&owner(), Some("first\n")).unwrap();
    let key = |master: &MasterKey| Credential::builder("host-a", master.key_of("host-a"));
    let first = person.master().unwrap();
    farm.caller(&key(&first), remote()).await.unwrap();
    person.change_master(&owner(), None).unwrap();
    let second = person.master().unwrap();
    farm.caller(&key(&first), remote()).await.unwrap();
    farm.caller(&key(&second), remote()).await.unwrap();
    person.retire_masters(&owner()).unwrap();
    assert!(farm.caller(&key(&first), remote()).await.is_err());
    farm.caller(&key(&second), remote()).await.unwrap();
    assert!(person.retire_masters(&owner()).is_err());
    std::fs::write(person.master_file().unwrap(), " \n").unwrap();
    let refusal = farm.caller(&key(&second), remote()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
}

#[tokio::test]
async fn whoever_shows_many_wrong_keys_waits_and_those_who_are_right_do_not() {
    let clock = at_start();
    let master = MasterKey::new("secret-master").unwrap();
    let options = Options::default()
        .clock(clock.clone())
        .master(master.clone());
    let directory = Directory::memory_with(options);
    directory
        .add_user(&owner(), "ann", Role::User, &[])
        .unwrap();
    let token = directory
        .create_key(&owner(), NewKey::of_user("ann"))
        .unwrap()
        .token;
    let known = Credential::builder("host-a", master.key_of("host-a"));
    let late = Credential::builder("host-b", master.key_of("host-b"));
    directory.caller(&known, remote()).await.unwrap();
    for n in 0..10_000 {
        let wrong = Credential::builder("host-a", format!("{n:032x}"));
        directory.caller(&wrong, remote()).await.unwrap_err();
    }
    let refusal = directory.caller(&late, remote()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Throttled(_)), "{refusal:?}");
    directory.caller(&known, remote()).await.unwrap();
    ask(&directory, token.reveal()).await.unwrap();
    directory.caller(&late, LOCAL).await.unwrap();
    clock.advance(Duration::from_secs(1));
    directory.caller(&late, remote()).await.unwrap();
    let (events, _) = directory.audit(100).unwrap();
    let refused: u64 = events
        .iter()
        .filter(|e| e.act == Act::Refused)
        .map(|e| e.times)
        .sum();
    assert_eq!(refused, 10_001);
    assert!(
        events.len() < 10,
        "they are counted, not listed: {}",
        events.len()
    );
}

#[test]
fn every_change_is_in_the_audit_log_and_no_secret_is() {
    let data = tempfile::tempdir().unwrap();
    let directory = Directory::open(data.path()).unwrap();
    let reads = ["team-*".parse().unwrap()];
    directory
        .add_user(&owner(), "ann", Role::User, &reads)
        .unwrap();
    let ann = Principal::person("ann");
    let made = directory
        .create_key(&ann, NewKey::of_user("ann").with_note("laptop"))
        .unwrap();
    let new = directory
        .rotate_key(&owner(), &made.key.id, Duration::ZERO)
        .unwrap();
    directory
        .change_master(&owner(), Some("very-secret"))
        .unwrap();
    directory.remove_user(&owner(), "ann").unwrap();
    let (events, damaged) = directory.audit(100).unwrap();
    let acts: Vec<_> = events.iter().rev().map(|e| (e.by.text(), e.act)).collect();
    let by = |who: &str, act| (who.to_owned(), act);
    assert_eq!(
        acts,
        [
            by("owner", Act::UserAdded),
            by("ann", Act::KeyCreated),
            by("owner", Act::KeyRotated),
            by("owner", Act::MasterChanged),
            by("owner", Act::UserRemoved),
        ]
    );
    assert_eq!(damaged, 0);
    let who = data.path().join("who");
    for name in ["audit.jsonl", "book.json"] {
        let text = std::fs::read_to_string(who.join(name)).unwrap();
        for secret in [made.token.reveal(), new.token.reveal(), "very-secret"] {
            assert!(!text.contains(secret), "{name}");
        }
    }
    let missing = directory
        .create_key(&owner(), NewKey::of_user("bob"))
        .unwrap_err();
    assert_eq!(missing.kind(), build_core::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_damaged_book_lets_nobody_in_but_the_owner() {
    let data = tempfile::tempdir().unwrap();
    let directory = Directory::open(data.path()).unwrap();
    directory
        .add_user(&owner(), "ann", Role::User, &[])
        .unwrap();
    let made = directory
        .create_key(&owner(), NewKey::of_user("ann"))
        .unwrap();
    std::fs::write(data.path().join("who/book.json"), "{torn").unwrap();
    let refusal = ask(&directory, made.token.reveal()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(_)));
    ask(&directory, directory.owner_token().unwrap().token())
        .await
        .unwrap();
    let error = directory
        .add_user(&owner(), "bob", Role::User, &[])
        .unwrap_err();
    assert!(error.hint().unwrap().contains("copy"), "{error:?}");
    assert_eq!(
        std::fs::read_to_string(data.path().join("who/book.json")).unwrap(),
        "{torn"
    );
}
