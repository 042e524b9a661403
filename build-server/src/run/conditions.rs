//! Steps for which nothing has changed since they passed: found out once, when a build is planned.
//!
//! What counts is not what the newest commit changes but everything since the step has passed on the
//! same builder as it is now, so that a failure is never left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use build_core::Result;
use build_core::ids::{BuildId, CommitHash, StepName};
use build_core::name::Name;
use build_core::plan::{Conditions, LeftOut, Plan, Step};
use build_core::report::BuildStatus;
use build_core::work::{Builder, COLD_LABEL, Trust, WorkItem};

use super::Inner;
use crate::record::BuildRow;
use crate::source::without_passwords;
use crate::store::BuildFilter;

/// Commits back along first parents among which a step must have passed.
const PAST_COMMITS: usize = 500;
/// Builds that are looked at for one.
const PAST_BUILDS: usize = 2_000;
/// Builds that are looked at in one piece.
const PAGE: usize = 200;
/// Plans that are read, those of the nearest commits first.
const PAST_PLANS: usize = 50;

/// A build in which a step has passed.
struct Before {
    build: BuildId,
    commit: CommitHash,
}

impl Inner {
    /// The plan without the steps whose files have not changed since they passed. Those that others
    /// need stay.
    pub(super) async fn leave_out_unchanged(
        &self,
        item: &WorkItem,
        builder: &Builder,
        mut plan: Plan,
    ) -> Result<Plan> {
        let conditional = plan.steps.iter().filter(|step| !step.when.is_empty());
        let conditional: Vec<Step> = conditional.cloned().collect();
        if conditional.is_empty() || item.labels.contains(COLD_LABEL) {
            return Ok(plan);
        }
        let before = self.passed_before(item, builder, &conditional).await?;
        let mut changes: HashMap<CommitHash, Option<Vec<Name>>> = HashMap::new();
        let mut unchanged = BTreeMap::new();
        for step in &conditional {
            let Some(Before { build, commit }) = before.get(&step.name) else {
                continue;
            };
            if !changes.contains_key(commit) {
                let changed = self.checkouts.changed_since(item, commit).await?;
                changes.insert(commit.clone(), changed);
            }
            let changed = changes.get(commit).and_then(Option::as_ref);
            if changed.is_some_and(|changed| !step.when.concern(changed)) {
                unchanged.insert(step.name.clone(), build.clone());
            }
        }
        let gone = without_needed(&plan.steps, unchanged);
        let left_out: Vec<LeftOut> = (plan.steps.iter())
            .filter_map(|step| {
                let build = gone.get(&step.name)?;
                Some(LeftOut {
                    step: step.name.clone(),
                    why: format!("only {}; it passed in {build}", step.when),
                    passed: Some(build.clone()),
                })
            })
            .collect();
        plan.steps.retain(|step| !gone.contains_key(&step.name));
        plan.reason = match plan.left_out.is_empty() {
            true => LeftOut::told_with(&plan.reason, &left_out),
            false => left_out
                .iter()
                .fold(plan.reason, |all, one| format!("{all}, {one}")),
        };
        plan.left_out.extend(left_out);
        Ok(plan)
    }

    /// For each step the build of the nearest earlier commit in which it has passed, as it is now.
    async fn passed_before(
        &self,
        item: &WorkItem,
        builder: &Builder,
        steps: &[Step],
    ) -> Result<BTreeMap<StepName, Before>> {
        let mut found = BTreeMap::new();
        let Some(history) = self.checkouts.history(item, PAST_COMMITS).await? else {
            return Ok(found);
        };
        // The commit itself may be asked for once more; its uncommitted files are another matter.
        let own = usize::from(!item.worktree);
        let places: HashMap<&CommitHash, usize> = history.iter().skip(own).zip(0..).collect();
        let mut rows: Vec<(usize, BuildRow)> = Vec::new();
        let (mut before, mut seen) = (None, 0);
        let passed = BuildFilter {
            repo: Some(item.repo.clone()),
            builder: Some(builder.name.clone()),
            state: Some(BuildStatus::Passed),
            ..BuildFilter::default()
        };
        loop {
            let page = self.store.records().builds(&passed, before, PAGE).await?;
            seen += page.builds.len();
            let known = page.builds.into_iter().filter(|row| vouches(row, item));
            rows.extend(known.filter_map(|row| Some((*places.get(&row.item.commit)?, row))));
            before = page.next;
            if before.is_none() || seen >= PAST_BUILDS || rows.len() >= PAST_PLANS {
                break;
            }
        }
        // Of one commit the newest build comes first.
        rows.sort_by_key(|(place, _)| *place);
        for (_, row) in rows.into_iter().take(PAST_PLANS) {
            let Some(plan) = self.plan_of(&row.id).await? else {
                continue;
            };
            for step in steps.iter().filter(|step| runs_in(&plan, step)) {
                found.entry(step.name.clone()).or_insert_with(|| Before {
                    build: row.id.clone(),
                    commit: row.item.commit.clone(),
                });
            }
            if found.len() == steps.len() {
                break;
            }
        }
        Ok(found)
    }
}

/// Whether a build that passed says something for others: it is of the same repository, and of what
/// somebody has committed who is not from outside.
fn vouches(row: &BuildRow, item: &WorkItem) -> bool {
    let of = &row.item;
    let is_same = without_passwords(&of.origin) == without_passwords(&item.origin);
    is_same && !of.worktree && of.change.is_none() && of.trust != Trust::Untrusted
}

/// Whether a plan has the same step; for which commits it runs does not matter.
fn runs_in(plan: &Plan, step: &Step) -> bool {
    let bare = |step: &Step| Step {
        when: Conditions::default(),
        ..step.clone()
    };
    plan.step(&step.name)
        .is_some_and(|before| bare(before) == bare(step))
}

/// Without the steps that a step needs which runs. Each step comes after what it needs.
fn without_needed(
    steps: &[Step],
    mut out: BTreeMap<StepName, BuildId>,
) -> BTreeMap<StepName, BuildId> {
    let mut needed: BTreeSet<&StepName> = BTreeSet::new();
    for step in steps.iter().rev() {
        if needed.contains(&step.name) {
            out.remove(&step.name);
        }
        if !out.contains_key(&step.name) {
            needed.extend(&step.needs);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_needs_runs_with_it() {
        let name = |name: &str| StepName::new(name).unwrap();
        let step = |of: &str, needs: &[&str]| Step {
            needs: needs.iter().map(|need| name(need)).collect(),
            ..Step::new(name(of), "true")
        };
        let steps = [
            step("a", &[]),
            step("b", &["a"]),
            step("c", &["b"]),
            step("d", &["a"]),
        ];
        let out = |names: &[&str]| {
            let build = BuildId::from_bits(1);
            let all = names.iter().map(|of| (name(of), build.clone()));
            let left = without_needed(&steps, all.collect());
            left.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(out(&["a", "b", "c", "d"]), ["a", "b", "c", "d"]);
        assert_eq!(out(&["a", "b", "d"]), ["d"]);
        assert_eq!(out(&["a", "c"]), ["c"]);
        assert_eq!(out(&["a", "b", "c"]), ["b", "c"]);
    }

    #[test]
    fn only_the_same_step_has_passed() {
        let step = Step::new(StepName::new("a").unwrap(), "make");
        let plan = Plan::new(vec![step.clone()], "").unwrap();
        assert!(runs_in(&plan, &step));
        let other = Step::new(step.name.clone(), "true");
        assert!(!runs_in(&plan, &other));
    }
}
