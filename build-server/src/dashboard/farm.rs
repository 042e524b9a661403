//! What the farm does at present, as every page tells.

use build_core::clock::Timestamp;
use build_core::ids::LeaseId;
use build_core::machine::MachineRecord;
use build_core::pool::MachineStatus;
use build_core::schedule::AccountUse;
use build_core::sentences::took;

use super::error::Failure;
use super::estimate::{Estimate, Estimates};
use crate::coordinator::LostSource;
use crate::record::{BuildRow, Run};
use crate::web::Site;

/// The farm at present.
pub(super) struct Farm {
    /// Builds that hold machines or held one and have no result yet, oldest first.
    pub(super) active: Vec<BuildRow>,
    /// How many builds wait for their first machine.
    pub(super) waiting: usize,
    pub(super) machines: Vec<MachineStatus>,
    /// What no machine could get rid of.
    pub(super) set_aside: Vec<String>,
    /// What is remembered of them.
    pub(super) records: Vec<MachineRecord>,
    /// The capacities that they share.
    pub(super) accounts: Vec<AccountUse>,
    /// Why nothing new begins, if so.
    pub(super) trouble: Option<String>,
}

/// A unit that runs.
pub(super) struct RunningUnit {
    pub(super) name: String,
    /// How long it has run, of how long such units took.
    pub(super) progress: String,
    /// For a bar; `None` when nothing is known of past runs.
    pub(super) percent: Option<u64>,
}

/// A build that runs.
pub(super) struct RunningBuild<'a> {
    pub(super) row: &'a BuildRow,
    pub(super) units: Vec<RunningUnit>,
}

fn nothing_begins(why: String) -> String {
    format!("Nothing new begins: {why}")
}

impl Farm {
    /// Asks the records and, when it runs, the coordinator.
    pub(super) async fn look(site: &Site) -> Result<Self, Failure> {
        let records = site.records();
        let active = records.active().await?;
        let waiting = records.count_queued().await?;
        let status = site.handle().status().await;
        let (machines, (set_aside, records, accounts), trouble) = match status {
            Ok(status) => {
                let stalled = status.stalled_text();
                let stalled = stalled.map(|why| format!("Nothing new begins {why}"));
                let settings = status.misconfigured.map(|why| format!("Settings: {why}"));
                let lost = (!status.lost.is_empty()).then(|| {
                    let lost: Vec<_> = status.lost.iter().map(LostSource::text).collect();
                    lost.join("; ")
                });
                let trouble = stalled.or(settings).or(lost);
                let told = (status.set_aside, status.records, status.accounts);
                (status.machines, told, trouble)
            }
            Err(error) => {
                let trouble = nothing_begins(error.to_string());
                (Vec::new(), Default::default(), Some(trouble))
            }
        };
        Ok(Self {
            active,
            waiting,
            machines,
            set_aside,
            records,
            accounts,
            trouble,
        })
    }

    fn unfinished(&self) -> impl Iterator<Item = &BuildRow> {
        self.active.iter().filter(|row| !row.state.is_final())
    }

    pub(super) fn running(&self) -> usize {
        self.unfinished().count()
    }

    pub(super) fn busy(&self) -> usize {
        self.machines.iter().filter(|m| m.lease.is_some()).count()
    }

    /// The build that holds a machine.
    pub(super) fn holder(&self, lease: &LeaseId) -> Option<&BuildRow> {
        self.active.iter().find(|row| row.held.contains(lease))
    }

    /// Builds that have no result yet, oldest first: those that run, and the oldest `limit` of
    /// those that wait.
    pub(super) async fn open(&self, site: &Site, limit: usize) -> Result<Vec<BuildRow>, Failure> {
        let queued = site.records().queued(limit).await?;
        let mut open: Vec<_> = self.unfinished().cloned().chain(queued).collect();
        open.sort_by_key(|row| row.number);
        open.dedup_by_key(|row| row.number);
        Ok(open)
    }

    /// The oldest `limit` builds that run, with how far they are.
    pub(super) async fn running_builds(
        &self,
        site: &Site,
        limit: usize,
    ) -> Result<Vec<RunningBuild<'_>>, Failure> {
        let now = site.clock().now();
        let mut estimates = Estimates::new(site.records());
        let mut builds = Vec::new();
        for row in self.unfinished().take(limit) {
            let mut units = Vec::new();
            for run in row.runs.iter().filter(|run| run.end.is_none()) {
                let usual = estimates.of(row, &run.unit).await?;
                units.push(running_unit(run, usual, now));
            }
            builds.push(RunningBuild { row, units });
        }
        Ok(builds)
    }
}

fn running_unit(run: &Run, usual: Option<Estimate>, now: Timestamp) -> RunningUnit {
    let elapsed = now.since(run.started);
    let name = run.unit.to_string();
    match usual {
        None => RunningUnit {
            name,
            progress: format!("for {}", took(elapsed)),
            percent: None,
        },
        Some(usual) => RunningUnit {
            name,
            progress: format!("{} of {usual}", took(elapsed)),
            percent: Some(usual.percent(elapsed)),
        },
    }
}
