//! Nobody holds more machines than a quota allows.

use std::num::NonZeroU32;

use build_core::engine::BuildState;
use build_core::event::Principal;
use build_core::ids::{BuilderName, HolderId, HostType, StepName};
use build_core::plan::{Part, Unit};
use build_core::schedule::{Labels, Waiter, WaiterId};
use build_core::work::Class;

use super::world::{Held, World};

impl World {
    /// One more machine is about to be given to `build`: its author and its repository hold fewer
    /// than they may, as the log tells.
    pub(super) fn check_quotas(&self, build: &HolderId) -> Held {
        let Some(taker) = self.folds.get(build).map(|fold| self.waiter(fold)) else {
            return Ok(());
        };
        if self.is_exempt(&taker) {
            return Ok(());
        }
        let holders: Vec<Waiter> = self
            .folds
            .values()
            .flat_map(|fold| fold.leases().map(move |_| fold))
            .map(|fold| self.waiter(fold))
            .filter(|holder| !self.is_exempt(holder))
            .collect();
        let check = |quota: Option<NonZeroU32>, held: usize, whose: String| match quota {
            Some(quota) if held >= quota.get() as usize => Err(format!(
                "{build} got a machine, but {whose} held {held} of {quota}"
            )),
            _ => Ok(()),
        };
        if let Some(author) = &taker.author {
            let same = holders.iter().filter(|h| h.author.as_ref() == Some(author));
            check(self.quotas.author, same.count(), author.clone())?;
        }
        if let Some(repo) = &taker.repo {
            let same = holders.iter().filter(|h| h.repo.as_ref() == Some(repo));
            check(self.quotas.repo, same.count(), repo.to_string())?;
        }
        Ok(())
    }

    /// Whether the policy takes it for urgent, which stands outside of quotas.
    fn is_exempt(&self, waiter: &Waiter) -> bool {
        self.policy.rank(waiter, waiter.enqueued).tier() == 0
    }

    /// A build as its policy is asked about it.
    fn waiter(&self, fold: &BuildState) -> Waiter {
        let item = fold.item();
        let opened_by = fold.opened_by().map(Principal::text);
        Waiter {
            id: WaiterId {
                build: fold.id().clone(),
                unit: Unit {
                    step: StepName::new("any").expect("a plain word"),
                    part: Part::Whole,
                },
            },
            builder: BuilderName::new("sim").expect("a plain word"),
            host_type: HostType::new("sim").expect("a plain word"),
            needs: Labels::default(),
            tags: item.map_or_else(Labels::default, |i| i.labels.iter().cloned().collect()),
            class: item.map_or(Class::Interactive, |i| i.class),
            author: item.map_or(opened_by, |i| i.author.clone()),
            repo: item.map(|i| i.repo.clone()),
            commit_time: fold.queued_at(),
            enqueued: fold.queued_at(),
            deadline: None,
            helper: false,
        }
    }
}
