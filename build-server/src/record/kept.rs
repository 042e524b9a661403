//! The files that steps have kept: a row has the first of many, events have them all.

use build_core::Result;
use build_core::event::{Artifact, BuildEvent, Recorded, Snapshot, StreamId, Version};
use build_core::ids::StepName;
use build_core::plan::{Part, Unit};
use serde::{Deserialize, Serialize};

use super::BuildRow;
use crate::store::EventLog;

/// Files of a step that a row has: a list of builds must stay short, whatever they have kept.
pub(super) const ROW_FILES: usize = 200;
/// Events read at a time.
const PAGE: usize = 500;

/// Files that a step has kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFiles {
    /// The step.
    pub step: StepName,
    /// The part of it, of one that failed.
    #[serde(default, skip_serializing_if = "is_whole")]
    pub part: Part,
    /// The files; in a row the first ones of many: [`BuildRow::with_all_files`] has them all.
    pub artifacts: Vec<Artifact>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// The directory that was kept as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
}

fn is_whole(part: &Part) -> bool {
    *part == Part::Whole
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl KeptFiles {
    /// What has kept them.
    pub fn unit(&self) -> Unit {
        Unit {
            step: self.step.clone(),
            part: self.part,
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.artifacts.len() as u64 + self.more
    }

    /// What an event tells, with `most` of its files.
    pub(super) fn of(event: &BuildEvent, most: usize) -> Option<Self> {
        let (unit, artifacts, snapshot) = match event {
            BuildEvent::Kept {
                step,
                artifacts,
                snapshot,
            } => {
                let unit = Unit {
                    step: step.clone(),
                    part: Part::Whole,
                };
                (unit, artifacts, snapshot.clone())
            }
            BuildEvent::Salvaged {
                unit, artifacts, ..
            } => (unit.clone(), artifacts, None),
            _ => return None,
        };
        let first = &artifacts[..artifacts.len().min(most)];
        Some(Self {
            step: unit.step,
            part: unit.part,
            artifacts: first.to_vec(),
            more: (artifacts.len() - first.len()) as u64,
            snapshot,
        })
    }
}

impl BuildRow {
    /// The row with every file that was kept: of many it has the first ones alone, and the events of
    /// the build are read for the others.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the events cannot be read.
    pub async fn with_all_files(mut self, events: &dyn EventLog) -> Result<Self> {
        if self.kept.iter().all(|kept| kept.more == 0) {
            return Ok(self);
        }
        let stream = StreamId::from(&self.id);
        let (mut all, mut after) = (Vec::new(), Version(0));
        loop {
            let page = events.read_stream(&stream, after, PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = last.version;
            let told = page.iter().filter_map(Recorded::read::<BuildEvent>);
            all.extend(told.filter_map(|event| KeptFiles::of(&event, usize::MAX)));
        }
        // A row may be older than what happens just now.
        all.truncate(self.kept.len());
        self.kept = all;
        Ok(self)
    }
}
