//! Histories at random: what the dispatcher keeps up to date is what follows from the state as a
//! whole. The comparison is made within, at each step; see `engine/agenda/check.rs`.

use super::*;

/// Numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Steps that need each other in any way, some in shards, some with files to keep.
fn steps(draw: &mut Draw) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for n in 0..1 + draw.below(9) {
        let mut next = step(&format!("s{n}"), &[]);
        while !steps.is_empty() && !draw.one_in(2) {
            let need = &steps[draw.below(steps.len())].name;
            if !next.needs.contains(need) {
                next.needs.push(need.clone());
            }
        }
        if draw.one_in(4) {
            next.tests = Some("list".into());
            next.shards = 1 + draw.below(4) as u32;
        }
        if draw.one_in(3) {
            next.artifacts = vec!["*".into()];
        }
        steps.push(next);
    }
    steps
}

fn ends(draw: &mut Draw) -> UnitEnd {
    match draw.below(20) {
        0 => UnitEnd::Exited(ExecOutcome::Exit(1)),
        1 | 2 => UnitEnd::Lost("connection reset".into()),
        _ => UnitEnd::Exited(ExecOutcome::Ok),
    }
}

fn unavailable() -> Failure {
    Failure::from(&Error::new(ErrorKind::Unavailable, "by chance"))
}

impl Farm {
    /// Something happens that no command asked for.
    fn surprise(&mut self, draw: &mut Draw) {
        match draw.below(12) {
            0 => self.tell(Input::Cancel {
                build: build().into(),
                by: "me".into(),
            }),
            1 => self.crash(),
            2..=4 => {
                let leases = self.dispatcher.builds().flat_map(BuildState::leases);
                let leases: Vec<LeaseId> = leases.map(|l| l.record().lease.clone()).collect();
                if let Some(lease) = leases.get(draw.below(leases.len())).cloned() {
                    self.tell(Input::LeaseLost {
                        lease,
                        text: "gone".into(),
                        output_bytes: 0,
                    });
                }
            }
            5 => self.tell(Input::Machines(machines(1 + draw.below(5)))),
            _ => {
                self.now = self.now + Duration::from_secs(1 << draw.below(9));
                self.tell(Input::Tick);
            }
        }
    }

    /// Any of the commands is carried out, or fails.
    fn step_anywhere(&mut self, draw: &mut Draw) {
        if self.todo.is_empty() {
            self.now = self.now + Duration::from_secs(90);
            return self.tell(Input::Tick);
        }
        let at = draw.below(self.todo.len());
        self.todo.swap(0, at);
        let Some(command) = self.todo.front() else {
            return;
        };
        if let Command::Run { unit, .. } = command {
            let unit = unit.to_string();
            self.ends.insert(unit, [ends(draw)].into());
        } else if draw.one_in(25) {
            let key = command.key();
            self.todo.pop_front();
            return self.tell(Input::Failed(key, unavailable()));
        }
        self.step();
    }
}

#[test]
fn what_is_kept_up_to_date_is_what_follows_from_the_whole_state() {
    for seed in 0..150 {
        let mut draw = Draw(seed);
        let plan = steps(&mut draw);
        let mut farm = Farm::new(1 + draw.below(6), plan);
        farm.listing = "a b c d e f g".into();
        farm.submit();
        for turn in 0.. {
            if farm.dispatcher.builds().next().is_none() {
                break;
            }
            // Commands that were withdrawn meanwhile are answered late, as by machines.
            match turn < 300 && draw.one_in(15) {
                true => farm.surprise(&mut draw),
                false => farm.step_anywhere(&mut draw),
            }
            if turn > 300 {
                farm.tell(Input::Machines(machines(3)));
            }
            assert!(
                turn < 5_000,
                "seed {seed} does not end: {:?}",
                farm.log.last().map(|l| &l.event)
            );
        }
        assert!(farm.outcome().is_some(), "seed {seed}");
    }
}

#[test]
fn a_machine_that_starts_slowly_does_not_hold_up_the_one_that_is_there() {
    let steps = vec![
        step("build", &[]),
        step("test", &["build"]),
        step("doc", &["build"]),
    ];
    let mut farm = Farm::new(2, steps);
    farm.submit();
    let of_second = |c: &Command| match c {
        Command::Acquire { request, .. } => request.machine.as_str() == "m1",
        _ => false,
    };
    let run_but_second = |farm: &mut Farm| {
        while let Some(at) = farm.todo.iter().position(|c| !of_second(c)) {
            let command = farm.todo.remove(at).unwrap();
            farm.todo.push_front(command);
            farm.step();
        }
    };
    run_but_second(&mut farm);
    assert_eq!(farm.done, ["prepare source", "build"], "it may be copied");
    farm.now = farm.now + Duration::from_secs(2);
    farm.tell(Input::Tick);
    run_but_second(&mut farm);
    assert_eq!(farm.done, ["prepare source", "build", "test", "doc"]);
    assert_eq!(farm.outcome(), Some(&Outcome::Passed));
    farm.run();
    assert!(farm.dispatcher.is_idle());
}

#[test]
fn a_plan_that_contradicts_itself_ends_its_build() {
    let mut farm = Farm::new(1, vec![step("a", &[])]);
    farm.plan.steps.push(step("a", &[]));
    farm.submit();
    farm.run();
    let outcome = farm.outcome().unwrap().to_string();
    assert!(outcome.contains("two steps are called \"a\""), "{outcome}");
    assert!(farm.dispatcher.is_idle());

    // One that is merely out of order is put in order.
    let mut farm = Farm::new(1, vec![step("a", &[]), step("b", &["a"])]);
    farm.plan.steps.reverse();
    farm.submit();
    farm.run();
    assert_eq!(farm.done, ["prepare source", "a", "b"]);
}
