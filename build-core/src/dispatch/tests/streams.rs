//! What is written, under which conditions, and what is left alone.

use serde_json::value::RawValue;

use super::*;
use crate::event::EventKind;

#[test]
fn proofs_of_leases_are_memos_and_in_no_event() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    farm.submit();
    farm.step();
    let proofs: Vec<String> = farm
        .memos
        .values()
        .map(|memo| String::from_utf8(memo.value.clone().unwrap().to_vec()).unwrap())
        .collect();
    assert_eq!(proofs.len(), 1);
    let acquire = farm.todo.front().unwrap().clone();
    let Command::Acquire { request, .. } = &acquire else {
        panic!("{acquire:?}");
    };
    assert_eq!(String::from(request.nonce.clone()), proofs[0]);
    // The next process shows the same proof.
    farm.crash();
    let adopt = farm.todo.front().unwrap().clone();
    let Command::Adopt { record, .. } = &adopt else {
        panic!("{adopt:?}");
    };
    assert_eq!(String::from(record.nonce.clone()), proofs[0]);
    farm.run();
    let is_told = |event: &&Recorded| event.body.get().contains(&proofs[0]);
    assert_eq!(farm.stored.iter().find(is_told), None);
    let mut left = farm.memos.keys().map(MemoKey::as_str);
    assert_eq!(
        left.next(),
        Some("machine/m0"),
        "what is remembered of its machine"
    );
    assert_eq!(left.next(), None);
}

#[test]
fn an_end_that_is_not_understood_leaves_the_build_alone_and_its_machine_held() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    farm.submit();
    while !farm.log.iter().any(|r| is_leased(&r.event)) {
        farm.step();
    }
    let stream = StreamId::from(build());
    let head = farm.heads[&stream].version;
    let newer = NewEvent {
        stream: stream.clone(),
        at: farm.now,
        by: Principal::farm(),
        kind: EventKind::new("finished").unwrap(),
        v: 2,
        must: true,
        body: RawValue::from_string(r#"{"verdict":"fine"}"#.into()).unwrap(),
    };
    farm.write(Batch {
        expects: vec![(stream, head)],
        events: vec![newer],
        ..Batch::default()
    });
    let before = farm.stored.len();
    farm.todo.clear();
    farm.dispatcher = new_dispatcher(9);
    farm.tell(Input::Machines(machines(1)));
    let (events, memos) = (farm.stored.clone(), farm.memos.clone());
    let restored = farm
        .dispatcher
        .restore(events, memos.into_values(), farm.now);
    let [told] = &restored.damaged[..] else {
        panic!("{:?}", restored.damaged);
    };
    assert_eq!(told.kind(), ErrorKind::Unsupported);
    assert!(told.to_string().contains("build.finished"), "{told}");
    assert!(restored.effects.is_empty(), "{:?}", restored.effects);
    farm.tell(Input::Cancel {
        build: build().into(),
        by: "me".into(),
    });
    // Its machine is nobody else's.
    farm.submit_as(BuildId::from_bits(2), Class::Urgent);
    farm.run();
    let of_build = StreamId::from(build());
    let written = farm.stored[before..].iter();
    let written: Vec<_> = written.filter(|e| e.stream == of_build).collect();
    assert!(written.is_empty(), "{written:#?}");
    assert_eq!(farm.count(is_leased), 1);
    farm.tell(Input::Stop);
    farm.run();
    assert!(farm.dispatcher.is_idle(), "it does not hold up a stop");
}

#[test]
fn what_need_not_be_understood_is_passed_over() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    farm.submit();
    let stream = StreamId::from(build());
    let note = NewEvent {
        stream: stream.clone(),
        at: farm.now,
        by: "bot:x".parse().unwrap(),
        kind: EventKind::new("noted").unwrap(),
        v: 1,
        must: false,
        body: RawValue::from_string("[]".into()).unwrap(),
    };
    let head = farm.heads[&stream].version;
    farm.write(Batch {
        expects: vec![(stream, head)],
        events: vec![note],
        ..Batch::default()
    });
    farm.crash();
    farm.run();
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}

#[test]
fn the_events_of_others_between_ours_disturb_nobody() {
    let mut farm = Farm::new(2, vec![step("a", &[]), step("b", &["a"])]);
    farm.submit();
    for n in 0u64.. {
        let tide: StreamId = "tide/t".parse().unwrap();
        let event = NewEvent {
            stream: tide.clone(),
            at: farm.now,
            by: Principal::farm(),
            kind: EventKind::new("rose").unwrap(),
            v: 1,
            must: true,
            body: RawValue::from_string("null".into()).unwrap(),
        };
        farm.write(Batch {
            expects: vec![(tide, Version(n))],
            events: vec![event],
            ..Batch::default()
        });
        if !farm.step() {
            break;
        }
    }
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}

#[test]
fn tests_that_were_taken_from_a_shard_are_a_shard_of_their_own_after_a_restart() {
    let mut test = step("test", &[]);
    test.run = "run {tests}".into();
    test.tests = Some("list".into());
    test.shards = 2;
    let mut farm = Farm::new(1, vec![test]);
    farm.listing = "a b c d".into();
    farm.submit();
    while farm.count(|e| matches!(e, BuildEvent::Listed { .. })) == 0 {
        assert!(farm.step());
    }
    let lease = farm.log.iter().find_map(|r| match &r.event {
        BuildEvent::Leased { lease, .. } => Some(lease.clone()),
        _ => None,
    });
    let stream = StreamId::from(build());
    let taken = |shard, tests: &[&str]| BuildEvent::Taken {
        step: name("test"),
        shard,
        tests: tests.iter().map(|test| Name::from(*test)).collect(),
        lease: lease.clone().unwrap(),
    };
    // The first shard was begun, of the second one cannot take everything, nor what it has not.
    let state = farm.dispatcher.build(&build().into()).unwrap();
    for wrong in [
        taken(0, &["c"]),
        taken(1, &["b", "d"]),
        taken(1, &["a"]),
        taken(1, &[]),
    ] {
        assert!(
            state.clone().advance(farm.now, &wrong).is_err(),
            "{wrong:?}"
        );
    }
    let event = NewEvent::new(
        stream.clone(),
        farm.now,
        Principal::farm(),
        &taken(1, &["d"]),
    );
    farm.write(Batch {
        expects: vec![(stream.clone(), farm.heads[&stream].version)],
        events: vec![event.unwrap()],
        ..Batch::default()
    });
    farm.crash();
    farm.run();
    let started = farm.log.iter().filter_map(|r| match &r.event {
        BuildEvent::Started { unit, tests, .. } if unit.part != Part::List => {
            Some(format!("{unit} {tests:?}"))
        }
        _ => None,
    });
    let started: Vec<_> = started.collect();
    assert_eq!(
        started,
        [
            "test (shard 1) [\"a\", \"c\"]",
            "test (shard 2) [\"b\"]",
            "test (shard 3) [\"d\"]"
        ]
    );
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
}
