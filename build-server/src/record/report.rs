//! Rows as reports: what everybody may read of builds and sessions, no passwords, no proofs of
//! leases.

use build_core::plan::{InputFrom, Part};
use build_core::report::{
    Build, Input, KeptFiles, Outcome, PartName, Run, RunStatus, Session, Tests,
};

use super::{BuildRow, SessionRow};
use crate::source::without_passwords;

impl From<BuildRow> for Build {
    fn from(mut row: BuildRow) -> Self {
        row.item.origin = without_passwords(&row.item.origin);
        for input in &mut row.inputs {
            match &mut input.from {
                InputFrom::Checkout { repo, item, .. } => {
                    *repo = without_passwords(repo);
                    if let Some(item) = item {
                        item.origin = without_passwords(&item.origin);
                    }
                }
                InputFrom::Archive { url, .. } => *url = without_passwords(url),
                _ => {}
            }
        }
        let kept = row.kept.into_iter().map(|kept| KeptFiles {
            step: kept.step,
            part: Some(PartName(kept.part)).filter(|part| part.0 != Part::Whole),
            artifacts: kept.artifacts,
            more: kept.more,
            snapshot: kept.snapshot,
        });
        Self {
            id: row.id,
            number: row.number,
            item: row.item.into(),
            builder: row.builder,
            state: row.state,
            outcome: row.outcome.map(Outcome::from),
            queued: row.queued,
            started: row.started,
            finished: row.finished,
            steps: row.steps,
            reason: row.reason,
            inputs: row.inputs.into_iter().map(Input::from).collect(),
            runs: row.runs.into_iter().map(Run::from).collect(),
            cache_hits: row.cache_hits,
            start: row.start,
            tool_caches: row.tool_caches,
            kept: kept.collect(),
            held: row.held,
            rerun: row.rerun,
            failed_tests: None,
            review: None,
        }
    }
}

impl From<super::Run> for Run {
    fn from(run: super::Run) -> Self {
        let report = Self {
            unit: run.unit.to_string(),
            step: run.unit.step,
            part: PartName(run.unit.part),
            attempt: run.attempt,
            exec: run.exec,
            lease: run.lease,
            started: run.started,
            state: RunStatus::Running,
            exit_status: None,
            signal: None,
            text: None,
            took: run.took,
            output_bytes: run.output_bytes,
            tests: run.tests,
            tested: Tests::of(run.tested),
            results: run.results,
        };
        match &run.end {
            Some(end) => report.ended(end),
            None => report,
        }
    }
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            number: row.number,
            builder: row.builder,
            by: row.by,
            name: row.name,
            opened: row.opened,
            ready: row.ready,
            machine: row.machine,
            held: row.held,
            outcome: row.outcome.map(Outcome::from),
            ended: row.ended,
        }
    }
}
