//! What the inputs of a plan stand for: found out once, when the build is planned.

use build_core::event::{BuildEvent, Version};
use build_core::ids::{BuildId, BuilderName, RepoName, StepName};
use build_core::plan::{FoundSnapshot, Input, InputFrom, Plan};
use build_core::recipe::{Tree, name_hint};
use build_core::report::BuildStatus;
use build_core::work::{Builder, Trust, WorkItem};
use build_core::{Error, ErrorKind, Result};

use super::Inner;
use super::snapshots::snapshot_key;
use crate::record::BuildRow;
use crate::source::Named;
use crate::store::BuildFilter;

/// Commits back along first parents in which the snapshot of an earlier build is looked for.
const PAST_COMMITS: usize = 500;
/// Builds that are looked at for one.
const PAST_BUILDS: usize = 2_000;
/// Builds that are looked at in one piece.
const PAGE: usize = 200;
/// Events from the beginning of a build among which its plan is.
const PLANNED_WITHIN: usize = 100;

impl Inner {
    /// The plan with everything known that its inputs name. A build that runs another one again has
    /// what that one had.
    pub(super) async fn resolve(
        &self,
        item: &WorkItem,
        builder: &Builder,
        tree: &dyn Tree,
        plan: Plan,
    ) -> Result<Plan> {
        // What lies uncommitted in a work tree comes with it, and may be in the way of nobody.
        let committed = match item.worktree {
            true => {
                let mut committed = item.clone();
                committed.worktree = false;
                Some(self.checkouts.tree(&committed).await?)
            }
            false => None,
        };
        let tree = committed.as_deref().unwrap_or(tree);
        let of_steps = plan.steps.iter().flat_map(|step| &step.inputs);
        let places = plan.inputs.iter().map(|input| &input.dir);
        for place in places.chain(of_steps.map(|input| &input.dir)) {
            check_free(tree, place).await?;
        }
        if plan.inputs.is_empty() {
            return Ok(plan);
        }
        if let Some(inputs) = self.inputs_before(item, &plan).await? {
            return Ok(Plan { inputs, ..plan });
        }
        let mut inputs = Vec::with_capacity(plan.inputs.len());
        for input in plan.inputs {
            let from = self.found(item, builder, &input).await;
            let from = from.map_err(|e| at_fault(&input, e))?;
            inputs.push(Input { from, ..input });
        }
        Ok(Plan { inputs, ..plan })
    }

    /// The inputs of the build that is run again, when it asked for the same.
    async fn inputs_before(&self, item: &WorkItem, plan: &Plan) -> Result<Option<Vec<Input>>> {
        let Some(first) = &item.rerun_of else {
            return Ok(None);
        };
        let before = self.plan_of(first).await?.map(|plan| plan.inputs);
        let asked = |inputs: &[Input]| inputs.iter().map(Input::asked).collect::<Vec<_>>();
        Ok(before.filter(|before| asked(before) == asked(&plan.inputs)))
    }

    /// The plan of a build, as it was recorded.
    pub(super) async fn plan_of(&self, build: &BuildId) -> Result<Option<Plan>> {
        let events = self.store.events();
        let stream = build.into();
        let first = events.read_stream(&stream, Version(0), PLANNED_WITHIN);
        let first = first.await?;
        Ok(first.iter().find_map(|event| match event.read() {
            Some(BuildEvent::Planned { plan }) => Some(plan),
            _ => None,
        }))
    }

    async fn found(&self, item: &WorkItem, builder: &Builder, input: &Input) -> Result<InputFrom> {
        let mut from = input.from.clone();
        match &mut from {
            InputFrom::Checkout {
                repo,
                rev,
                item: found,
            } => {
                let commit = self.commit(item, repo, rev.as_deref()).await?;
                *found = Some(Box::new(commit));
            }
            InputFrom::Snapshot {
                step,
                builder: of,
                repo,
                rev,
                optional,
                found,
            } => {
                let from = match (&repo, &rev) {
                    (None, None) => item.clone(),
                    (repo, rev) => {
                        let repo = repo.as_deref().unwrap_or(item.repo.as_str());
                        self.commit(item, repo, rev.as_deref()).await?
                    }
                };
                let of = of.as_ref().unwrap_or(&builder.name);
                *found = self.newest_snapshot(&from, of, step).await?;
                if found.is_none() && !*optional {
                    let text = format!(
                        "no build of {} at {} or before on builder {of} has kept a snapshot of step {step}",
                        from.repo,
                        from.commit.short(),
                    );
                    return Err(Error::new(ErrorKind::Invalid, text).with_hint(
                        "build one first: its step needs `snapshot`; or set optional = true",
                    ));
                }
            }
            // Its SHA-256 says what it is.
            _ => {}
        }
        Ok(from)
    }

    /// The commit of another repository, as far as builds of `item` may have it.
    async fn commit(&self, item: &WorkItem, repo: &str, rev: Option<&str>) -> Result<WorkItem> {
        let (origin, name) = match Named::of(item, repo)? {
            Named::Name(name) => self.known(item, &name).await?,
            Named::At(_) if item.trust == Trust::Untrusted => {
                let text = format!("{repo} is not named as a repository of this farm");
                return Err(Error::new(ErrorKind::Invalid, text).with_hint(
                    "a change from outside may have those alone: GET /api/v1/repos lists them",
                ));
            }
            Named::At(origin) => (origin, None),
        };
        let found = self.checkouts.resolve(&origin, rev).await?;
        let name = name.unwrap_or_else(|| found.repo.clone());
        if name != item.repo && !(self.may_have)(&item.repo, &name) {
            let text = format!(
                "{name} is private, and more people may read builds of {}",
                item.repo
            );
            return Err(Error::new(ErrorKind::Invalid, text).with_hint(
                "an admin may list both under one pattern of `private` in farmer.toml",
            ));
        }
        Ok(WorkItem {
            commit_time: found.commit_time,
            subject: found.subject,
            branch: found.branch,
            tag: found.tag,
            ..WorkItem::new(name, origin, found.commit)
        })
    }

    /// Where a repository is that has this name in the farm.
    async fn known(&self, item: &WorkItem, name: &str) -> Result<(String, Option<RepoName>)> {
        let wanted = RepoName::new(name)?;
        if wanted == item.repo {
            return Ok((item.origin.clone(), Some(wanted)));
        }
        let records = self.store.records();
        let of_repo = BuildFilter {
            repo: Some(wanted.clone()),
            ..BuildFilter::default()
        };
        let newest = records.builds(&of_repo, None, 1).await?.builds;
        if let Some(row) = newest.into_iter().next() {
            return Ok((row.item.origin, Some(wanted)));
        }
        // It is watched, and was never built yet.
        for origin in self.sources.iter().flat_map(|source| source.origins()) {
            let found = self.checkouts.resolve(&origin, None).await;
            if found.is_ok_and(|found| found.repo == wanted) {
                return Ok((origin, Some(wanted)));
            }
        }
        let repos = records.repos().await?;
        let names = repos.iter().map(|known| &known.repo);
        let names = names.filter(|known| (self.may_have)(&item.repo, known));
        let names: Vec<&str> = names.map(RepoName::as_str).collect();
        let text = format!("this farm knows no repository {name:?}");
        let hint = match names.is_empty() {
            true => "give its git URL".to_owned(),
            false => name_hint(name, names.iter().copied()),
        };
        Err(Error::new(ErrorKind::Invalid, text).with_hint(hint))
    }

    /// The snapshot of the nearest commit, from `from` back, of which a build that passed has kept
    /// one. What came from outside, or from uncommitted files, is nobody else's.
    async fn newest_snapshot(
        &self,
        from: &WorkItem,
        builder: &BuilderName,
        step: &StepName,
    ) -> Result<Option<FoundSnapshot>> {
        let history = self.checkouts.history(from, PAST_COMMITS).await?;
        let history = history.unwrap_or_else(|| vec![from.commit.clone()]);
        let passed = BuildFilter {
            repo: Some(from.repo.clone()),
            builder: Some(builder.clone()),
            state: Some(BuildStatus::Passed),
            ..BuildFilter::default()
        };
        let (mut best, mut before, mut seen) = (None, None, 0);
        loop {
            let page = self.store.records().builds(&passed, before, PAGE).await?;
            seen += page.builds.len();
            for row in &page.builds {
                let Some(at) = history.iter().position(|commit| *commit == row.item.commit) else {
                    continue;
                };
                let is_nearer = best.as_ref().is_none_or(|(nearest, _)| at < *nearest);
                if is_nearer && let Some(found) = self.snapshot_of(row, step).await? {
                    best = Some((at, found));
                }
            }
            before = page.next;
            let is_nearest = best.as_ref().is_some_and(|(at, _)| *at == 0);
            if before.is_none() || is_nearest || seen >= PAST_BUILDS {
                return Ok(best.map(|(_, found)| found));
            }
        }
    }

    async fn snapshot_of(&self, row: &BuildRow, step: &StepName) -> Result<Option<FoundSnapshot>> {
        let item = &row.item;
        if item.worktree || item.change.is_some() || item.trust == Trust::Untrusted {
            return Ok(None);
        }
        let kept = row.kept.iter().rev().find(|kept| kept.step == *step);
        let Some(snapshot) = kept.and_then(|kept| kept.snapshot.as_ref()) else {
            return Ok(None);
        };
        let key = snapshot_key(&row.id, step)?;
        // It may have made room for others meanwhile.
        let is_there = self.store.blobs().size(&key).await?.is_some();
        Ok(is_there.then(|| FoundSnapshot {
            build: row.id.clone(),
            contents: snapshot.contents.clone(),
        }))
    }
}

/// Of somebody who could not find out what an input is: no other machine would find more.
fn at_fault(input: &Input, error: Error) -> Error {
    use ErrorKind::{Corrupt, Denied, Invalid, NotFound, Unavailable};
    let what = format!("there is no input {input}");
    match error.kind() {
        Invalid | NotFound | Corrupt | Denied | Unavailable => {
            let hint = match error.hint() {
                Some(hint) => hint.to_owned(),
                None => "see whether `repo` and `rev` are right".to_owned(),
            };
            Error::caused_by(Invalid, what, error).with_hint(hint)
        }
        _ => error.while_doing(what),
    }
}

/// An input goes where the commit has nothing.
async fn check_free(tree: &dyn Tree, place: &str) -> Result<()> {
    let mut above = String::new();
    for part in place.split('/') {
        let names = tree.list(&above).await?;
        let path = match above.as_str() {
            "" => part.to_owned(),
            above => format!("{above}/{part}"),
        };
        let is_dir = names
            .iter()
            .any(|name| name.strip_suffix('/') == Some(part));
        let is_taken = names.iter().any(|name| name == part) || path == place && is_dir;
        if is_taken {
            let text = format!("an input cannot be put in {place:?}: the commit has {path:?}");
            return Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("give the input another `dir`, or take the files out of the commit"));
        }
        if !is_dir {
            return Ok(());
        }
        above = path;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use build_core::recipe::MemoryTree;

    #[tokio::test]
    async fn an_input_is_put_where_the_commit_has_nothing() {
        let tree = MemoryTree::default().with("a/b/c", "x").with("f", "x");
        for free in ["b", "a/c", "a/b/d/e"] {
            check_free(&tree, free).await.unwrap();
        }
        for (place, has) in [("a", "a"), ("a/b", "a/b"), ("a/b/c", "a/b/c"), ("f/x", "f")] {
            let error = check_free(&tree, place).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("an input cannot be put in {place:?}: the commit has {has:?}")
            );
        }
    }
}
