//! `farmer machine`: what the machines of the farm that runs do, and which are set aside.

use std::path::Path;
use std::time::Duration;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::ids::MachineId;
use build_core::recipe::parse_duration;
use build_core::report::{HoldMachine, Machine};
use clap::Subcommand;
use farmer_cli::Failure;

use crate::describe::took;
use crate::output::{failure, print_json, print_text};
use crate::running::{expect, refusal};

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer machine list                                   what each does, which are set aside
  farmer machine hold big-2 --why 'new disk' --for 2h   nobody gets it; who holds it keeps it
  farmer machine release big-2                          it is mended, use it again

A machine that fails three times in a row, while another one of its kind does not, is set aside by
itself: for an hour, then two, at most a day. It is tried again after that. Machines that are set
aside stay so when the farm starts again.";

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// List them
    List,
    /// Set one aside: nobody gets it for a time
    Hold {
        /// Its name
        machine: String,
        /// Why, for whoever wonders
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// For how long, such as 2h; a year at most
        #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "24h")]
        time: Duration,
    },
    /// Use one again that was set aside, or that rests after a failure
    Release {
        /// Its name
        machine: String,
    },
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| match e.hint() {
        Some(hint) => format!("{e}; {hint}"),
        None => e.to_string(),
    })
}

/// Lists, sets aside, lets be used again.
pub(crate) async fn machine(
    command: &MachineCommand,
    data: &Path,
    json: bool,
) -> Result<(), Failure> {
    let farm = expect(data)?;
    let id = |name: &str| MachineId::new(name).map_err(|e| failure(&e));
    let machines = match command {
        MachineCommand::List => farm.machines().await,
        MachineCommand::Hold { machine, why, time } => {
            let wish = HoldMachine {
                why: why.clone(),
                time: *time,
            };
            farm.hold_machine(&id(machine)?, &wish).await
        }
        MachineCommand::Release { machine } => farm.release_machine(&id(machine)?).await,
    };
    let all = machines.map_err(|e| refusal(&e))?;
    if json {
        return all.machines.iter().try_for_each(print_json);
    }
    let mut text = table(&all.machines, SystemClock.now());
    for left in &all.set_aside {
        text += &format!("! {left}\n");
    }
    print_text(&text)
}

fn table(machines: &[Machine], now: Timestamp) -> String {
    match machines.is_empty() {
        true => "no machine is there; join one with: farmer join\n".into(),
        false => machines.iter().map(|machine| line(machine, now)).collect(),
    }
}

fn line(machine: &Machine, now: Timestamp) -> String {
    let status = &machine.status;
    let does = match (&machine.build, &status.lease, &machine.aside) {
        (Some(build), ..) => format!("held by {build}"),
        (None, Some(_), _) => "held".to_owned(),
        (None, None, Some(_)) => "set aside".to_owned(),
        (None, None, None) => "free".to_owned(),
    };
    let mut text = format!("{}  {}  {does}", status.machine, status.host_type);
    if let Some(wear) = &machine.wear {
        let times = if wear.leases == 1 { "time" } else { "times" };
        text += &format!(", held {} {times} for {}", wear.leases, took(wear.busy));
        if wear.failures > 0 {
            text += &format!(", failed {}", wear.failures);
        }
    }
    text.push('\n');
    if let Some(trouble) = &status.trouble {
        text += &format!("  trouble    {trouble}\n");
    }
    if let Some(aside) = &machine.aside {
        let by = aside.by.as_ref().map(|by| format!(" by {by}"));
        let left = took(aside.until.since(now));
        text += &format!(
            "  set aside{} for another {left}: {}\n",
            by.unwrap_or_default(),
            aside.why
        );
        text += &format!("  cure       {}\n", aside.cure);
    } else if let Some(words) = machine
        .wear
        .as_ref()
        .and_then(|wear| wear.last_words.as_ref())
    {
        text += &format!("  last words {words}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use build_core::ids::HostType;
    use build_core::machine::{Aside, MachineRecord, Verdict};
    use build_core::pool::MachineStatus;

    use super::*;

    #[test]
    fn a_table_says_why_a_machine_is_set_aside_and_what_to_do() {
        let now = Timestamp::from_seconds(1_600_000_000);
        let (id, kind) = (
            MachineId::new("big-2").unwrap(),
            HostType::new("big").unwrap(),
        );
        let mut record = MachineRecord::new(id.clone(), kind.clone(), now);
        let status = MachineStatus {
            machine: id,
            host_type: kind,
            labels: BTreeSet::new(),
            lease: None,
            trouble: None,
            sandbox: None,
            limits: None,
        };
        let text = |record: &MachineRecord| {
            table(
                &[Machine::new(status.clone(), None, Some(record), now)],
                now,
            )
        };
        assert_eq!(text(&record), "big-2  big  free\n");
        record.ended(Verdict::Failed, Duration::from_secs(5), "no disk", now);
        assert!(text(&record).ends_with("failed 1\n  last words no disk\n"));
        record.put_aside(Aside {
            why: "new disk".into(),
            since: now,
            until: now + Duration::from_secs(7200),
            by: Some("ann".into()),
        });
        let told = text(&record);
        for part in [
            "big-2  big  set aside, held 1 time",
            "set aside by ann for another",
            ": new disk\n",
            "release big-2\n",
        ] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }
}
