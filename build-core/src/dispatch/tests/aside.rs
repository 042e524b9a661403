//! Machines that fail again and again, and what becomes of them.

use super::*;
use crate::schedule::MachineState;

fn is_acquire(command: &Command) -> bool {
    matches!(command, Command::Acquire { .. })
}

const AN_HOUR: Duration = Duration::from_secs(60 * 60);

/// What the machines do.
fn states(farm: &Farm) -> Vec<MachineState> {
    let machines = farm.dispatcher.scheduler().machines();
    machines.map(|(_, state)| state).collect()
}

/// A build whose first machine does not start, and another one does its work; which one failed.
fn fails_first(farm: &mut Farm, number: u64) -> String {
    farm.submit_as(BuildId::from_bits(number), Class::DefaultTip);
    while farm
        .todo
        .front()
        .is_some_and(|command| !is_acquire(command))
    {
        farm.step();
    }
    let acquire = farm.todo.pop_front().expect("a machine was granted");
    let Command::Acquire { request, .. } = &acquire else {
        panic!("{acquire:?} comes first");
    };
    let machine = request.machine.to_string();
    let error = Error::new(ErrorKind::Unavailable, "no disk");
    farm.tell(Input::Failed(acquire.key(), Failure::from(&error)));
    farm.run();
    // What failed may be tried again.
    farm.wait(AN_HOUR / 6);
    machine
}

#[test]
fn a_sick_machine_is_set_aside_until_it_is_released_whoever_restarts() {
    let mut farm = Farm::new(2, vec![step("test", &[])]);
    let failed: Vec<_> = (1..=3).map(|n| fails_first(&mut farm, n)).collect();
    assert_eq!(failed, ["m0"; 3]);
    let m0 = MachineId::new("m0").unwrap();
    let record = farm.dispatcher.records().of(&m0).unwrap().clone();
    let aside = record.aside.clone().unwrap();
    assert_eq!(aside.why, "it failed 3 times in a row, at last: no disk");
    assert_eq!(states(&farm)[0], MachineState::SetAside(aside.until));
    assert_eq!(
        farm.dispatcher.records().all().count(),
        2,
        "of every machine"
    );

    let mut next = new_dispatcher(2);
    next.handle(Input::Machines(machines(1)), farm.now);
    next.restore(
        farm.stored.clone(),
        farm.memos.clone().into_values(),
        farm.now,
    );
    assert_eq!(next.records().of(&m0), Some(&record));
    farm.dispatcher = next;
    farm.todo.clear();
    assert_eq!(states(&farm), [MachineState::SetAside(aside.until)]);
    farm.submit_as(BuildId::from_bits(9), Class::DefaultTip);
    farm.run();
    let why = farm
        .dispatcher
        .explain(&BuildId::from_bits(9).into(), farm.now);
    let told = crate::sentences::waiting(&why[0].1);
    for part in [
        "machine m0 is set aside until",
        "at last: no disk",
        "farmer machine release m0",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    // It comes and goes meanwhile.
    farm.tell(Input::Machines(Vec::new()));
    farm.tell(Input::Machines(machines(1)));
    assert_eq!(states(&farm), [MachineState::SetAside(aside.until)]);

    let (mark, effects) = farm.dispatcher.readmit(&m0, farm.now);
    assert!(!farm.dispatcher.is_recorded(mark));
    farm.act(effects);
    assert!(farm.dispatcher.is_recorded(mark));
    farm.run();
    assert_eq!(
        states(&farm),
        [MachineState::Free],
        "its build has run there"
    );
    let record = farm.dispatcher.records().of(&m0).unwrap();
    assert_eq!(
        (record.failures, record.failures_in_a_row, &record.aside),
        (3, 0, &None)
    );
}

#[test]
fn a_machine_that_is_set_aside_while_it_is_held_stays_with_its_holder() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    let m0 = MachineId::new("m0").unwrap();
    farm.submit();
    farm.step();
    let until = farm.now + AN_HOUR;
    let aside = Aside {
        why: "new disk".into(),
        since: farm.now,
        until,
        by: Some("ann".into()),
    };
    let (_, effects) = farm.dispatcher.set_aside(&m0, aside, farm.now);
    farm.act(effects);
    farm.run();
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
    assert_eq!(states(&farm), [MachineState::SetAside(until)]);
    // What was remembered last is what is in the log, whatever was on its way.
    let key = MemoKey::new(format!("{}m0", crate::machine::MACHINE_MEMOS)).unwrap();
    let stored = farm.memos[&key].value.clone().unwrap();
    let stored = String::from_utf8(stored.to_vec()).unwrap();
    for part in ["\"new disk\"", "\"leases\":1"] {
        assert!(stored.contains(part), "{part} is not in {stored}");
    }
    farm.wait(AN_HOUR);
    assert_eq!(states(&farm), [MachineState::Free]);
}

/// The farm's disk is full: no machine is to blame, and all are tried again.
#[test]
fn where_all_fail_no_machine_is_set_aside() {
    let mut farm = Farm::new(2, vec![step("test", &[])]);
    for _ in 0..8 {
        farm.submit_as(BuildId::from_bits(farm.log.len() as u64), Class::DefaultTip);
        for _ in 0..40 {
            let Some(command) = farm.todo.pop_front() else {
                break;
            };
            if is_acquire(&command) {
                let error = Error::new(ErrorKind::Unavailable, "no disk");
                farm.tell(Input::Failed(command.key(), Failure::from(&error)));
            } else {
                farm.todo.push_front(command);
                farm.step();
            }
        }
        farm.now = farm.now + AN_HOUR / 6;
        farm.tell(Input::Tick);
    }
    let records: Vec<_> = farm.dispatcher.records().all().collect();
    assert!(records.iter().all(|record| record.failures_in_a_row >= 3));
    assert!(records.iter().all(|record| record.aside.is_none()));
}
