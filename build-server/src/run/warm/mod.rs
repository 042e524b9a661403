//! Builds that begin with directories of an earlier one, as they are on this machine's disk.
//!
//! docs/decisions/0023-warm-starts.md says why it is done so, and what is never done.

mod copy;
mod judge;
mod notes;
mod times;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use build_core::engine::CHECKOUT_DIR;
use build_core::event::Start;
use build_core::plan::{Plan, identity};
use build_core::pool::FilesHere;
use build_core::tree::remove_tree;
use build_core::work::{Builder, COLD_LABEL, Trust, WorkItem};
use build_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use self::copy::copy_tree;
use self::judge::{Changes, keeps_account};
use self::notes::{NOTE, Note, VERSION, notes, prune};
use self::times::{Time, Times};
use super::Inner;
use super::leases::Held;
use super::prepare::Work;
use crate::source::without_passwords;

/// A build that may leave its directories to later ones.
#[derive(Clone)]
pub(super) struct Leaving {
    here: FilesHere,
    scope: String,
    note: Note,
}

/// Directories of an earlier build, and what has changed since.
struct Base {
    at: PathBuf,
    note: Note,
    changed: Vec<String>,
}

/// What a build begins with, and what it may leave.
struct Begun {
    start: Start,
    times: Option<Times>,
}

impl Inner {
    /// Begins a build in a checkout that was just made, warm where that is safe; says how.
    pub(super) async fn begin(&self, held: &Held, work: &Work<'_>) -> Result<Start> {
        let cold = |why: &str| {
            Ok(Start::Cold {
                why: why.to_owned(),
            })
        };
        let Some(plan) = self.plan_of(work.build).await? else {
            return cold("its plan is not known");
        };
        let item = work.item;
        if item.worktree {
            return cold("it is made of uncommitted files");
        }
        if item.trust == Trust::Untrusted || item.change.is_some() {
            return cold("it is a change from outside");
        }
        let Some(here) = held.lease.files_here().await? else {
            return cold("the files of its machine are elsewhere");
        };
        let made_with = made_with(&plan, work, &here)?;
        let scope = scope(item, work.builder);
        let bases = match item.labels.contains(COLD_LABEL) {
            true => Err("it was asked for".to_owned()),
            false => self.bases(item, &here, &scope, &made_with).await?,
        };
        let top = here.work_dir.join(CHECKOUT_DIR);
        let inputs = work.inputs.iter().map(|input| input.dir.clone());
        let left_out: Vec<String> = plan.warm.iter().cloned().chain(inputs).collect();
        let (steps, at) = (plan.clone(), here.work_dir.clone());
        let begun = blocking(move || begin_in(&top, &at, &steps, &left_out, bases)).await??;
        if let Some(times) = begun.times {
            let note = Note {
                v: VERSION,
                build: work.build.clone(),
                commit: item.commit.clone(),
                work_dir: here.work_dir.clone(),
                made_with,
                dirs: plan.warm,
                times,
                rest: BTreeMap::new(),
            };
            held.leave(Some(Leaving { here, scope, note }));
        }
        Ok(begun.start)
    }

    /// The directories that builds of earlier commits have left, the newest first; `Err` says why there
    /// are none.
    async fn bases(
        &self,
        item: &WorkItem,
        here: &FilesHere,
        scope: &str,
        made_with: &str,
    ) -> Result<Result<Vec<Base>, String>> {
        let (dir, of) = (here.keep_dir.clone(), scope.to_owned());
        let notes = blocking(move || notes(&dir, &of)).await??;
        let (mut bases, mut why) = (Vec::new(), None);
        for (at, note) in notes {
            let changed = self.checkouts.changed_since(item, &note.commit).await?;
            let Some(changed) = changed else {
                continue;
            };
            let changed = changed.iter().map(|name| name.as_str().map(str::to_owned));
            match (note.made_with == made_with, changed.collect()) {
                (true, Some(changed)) => bases.push(Base { at, note, changed }),
                (true, None) => {
                    why.get_or_insert("a file has changed whose name is no text".to_owned());
                }
                (false, _) => {
                    why.get_or_insert_with(|| {
                        format!(
                            "its steps, its builder or the tools of the machine are others than \
                             those of build {}",
                            note.build
                        )
                    });
                }
            }
        }
        let nothing = || "no build of an earlier commit has left anything here".to_owned();
        Ok(match bases.is_empty() {
            true => Err(why.unwrap_or_else(nothing)),
            false => Ok(bases),
        })
    }

    /// Gives a machine back whose build has passed, and keeps its directories.
    pub(super) async fn release_warm(&self, held: &Held, leaving: Leaving) -> Result<()> {
        let Leaving { here, scope, note } = leaving;
        let top = here.work_dir.join(CHECKOUT_DIR);
        let (times, looked_at) = (note.times.clone(), top.clone());
        let changed = blocking(move || times.first_changed(&looked_at).map(str::to_owned)).await?;
        if let Some(path) = changed {
            tracing::info!(build = %note.build, path, "a build that changes its sources leaves nothing warm");
            return held.lease.release().await;
        }
        let place = here.keep_dir.join(format!("{scope}-{}", note.build));
        let moves: Vec<(PathBuf, PathBuf)> = (0..)
            .zip(&note.dirs)
            .map(|(n, dir): (usize, _)| (top.join(dir), place.join(n.to_string())))
            .collect();
        let made = place.clone();
        blocking(move || std::fs::create_dir_all(made)).await??;
        held.lease.release_keeping(&moves).await?;
        let done = blocking(move || -> Result<()> {
            // A link that a build has left in the place of a directory leads anywhere.
            let is_dir = |kept: &Path| kept.symlink_metadata().is_ok_and(|about| about.is_dir());
            if moves.iter().all(|(_, kept)| is_dir(kept)) {
                let text = serde_json::to_vec(&note)
                    .map_err(|e| Error::caused_by(ErrorKind::Bug, "write a note", e))?;
                crate::store::private::write(&place.join(NOTE), &text)?;
            } else {
                remove_tree(&place)?;
            }
            prune(&here.keep_dir, &scope)
        });
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => {
                // The next build begins cold, no more.
                tracing::warn!(
                    error = error.chain(),
                    "cannot keep a build's directories warm"
                );
            }
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::caused_by(ErrorKind::Bug, "begin a build warm", e))
}

/// Directories are for one builder of one repository.
fn scope(item: &WorkItem, builder: &Builder) -> String {
    let origin = without_passwords(&item.origin);
    let mut hash = Sha256::new();
    for part in [item.repo.as_str(), &origin, builder.name.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..12])
}

/// What results depend on beside the commit: steps, builder, inputs, the tools of the machine.
fn made_with(plan: &Plan, work: &Work<'_>, here: &FilesHere) -> Result<String> {
    let of = (
        &plan.steps,
        &plan.warm,
        work.builder,
        identity(work.inputs),
        &here.tools,
    );
    let text = serde_json::to_vec(&of)
        .map_err(|e| Error::caused_by(ErrorKind::Bug, "name what a build is made with", e))?;
    Ok(hex::encode(Sha256::digest(text)))
}

/// Puts the directories of `base` into a checkout and gives its files their times; blocking.
fn begin_in(
    top: &Path,
    work_dir: &Path,
    plan: &Plan,
    left_out: &[String],
    bases: Result<Vec<Base>, String>,
) -> Result<Begun> {
    let left_out: Vec<&str> = left_out.iter().map(String::as_str).collect();
    let Some(mut now) = Times::of(top, &left_out)? else {
        return Ok(Begun {
            start: Start::Cold {
                why: "a file has a name that is no text".to_owned(),
            },
            times: None,
        });
    };
    let start = match bases {
        Err(why) => Start::Cold { why },
        Ok(bases) => first_warm(top, work_dir, plan, &bases, &mut now)?,
    };
    Ok(Begun {
        start,
        times: Some(now),
    })
}

/// Begins with the first of `bases` that nothing speaks against; of none what speaks against the first
/// one is told. A later one may have been made in the same place.
fn first_warm(
    top: &Path,
    work_dir: &Path,
    plan: &Plan,
    bases: &[Base],
    now: &mut Times,
) -> Result<Start> {
    let mut against = None;
    for base in bases {
        match speaks_against(top, work_dir, plan, base, now) {
            None => return warm(top, plan, base, now),
            Some(why) => drop(against.get_or_insert(why)),
        }
    }
    Ok(Start::Cold {
        why: against.unwrap_or_default(),
    })
}

fn speaks_against(
    top: &Path,
    work_dir: &Path,
    plan: &Plan,
    base: &Base,
    now: &Times,
) -> Option<String> {
    for dir in &plan.warm {
        if let Some(path) = in_the_way(top, dir) {
            return Some(format!("the commit has {path}, where {dir} goes"));
        }
    }
    let changes = match Changes::of(&base.changed, &base.note.times, now) {
        Ok(changes) => changes,
        Err(path) => return Some(format!("{path} has changed, which is no file")),
    };
    let against = changes.speak_against(&plan.steps, top, now);
    if against.is_some() || keeps_account(&plan.steps) || base.note.work_dir == work_dir {
        return against;
    }
    let names = copy::first_that_names(&base.at, &base.note.work_dir)?;
    Some(format!(
        "{} names the directory in which it was made",
        names.display()
    ))
}

/// What of a commit is at the place of a warm directory, or a link on the way to it: nothing is
/// written through one.
fn in_the_way<'d>(top: &Path, dir: &'d str) -> Option<&'d str> {
    let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
    let mut paths = ends.map(|end| &dir[..end]);
    paths.find(|path| match top.join(path).symlink_metadata() {
        Ok(about) => *path == dir || !about.is_dir(),
        Err(_) => false,
    })
}

/// From here on an error is no reason to go on: the checkout has part of it.
fn warm(top: &Path, plan: &Plan, base: &Base, now: &mut Times) -> Result<Start> {
    let (mut newest, mut by) = ((0, 0), None);
    for (n, dir) in plan.warm.iter().enumerate() {
        let to = top.join(dir);
        if let Some(above) = to.parent() {
            std::fs::create_dir_all(above)?;
        }
        let copied = copy_tree(&base.at.join(n.to_string()), &to).map_err(|e| {
            // It may have been removed meanwhile, or be damaged: it is not tried again.
            let _gone_already = remove_tree(&base.at);
            let text = format!("copy {dir} of build {}", base.note.build);
            Error::caused_by(ErrorKind::Corrupt, text, e)
        })?;
        newest = newest.max(copied.newest);
        by = by.max(Some(copied.by));
    }
    let changed = &base.changed;
    let is_new = |path: &str| changed.iter().any(|changed| changed == path);
    base.note.times.give(top, now, fresh(newest), is_new)?;
    Ok(Start::Warm {
        build: base.note.build.clone(),
        dirs: plan.warm.clone(),
        by: by.unwrap_or_default(),
    })
}

/// The present, but later than everything that was made before: clocks are set back.
fn fresh(newest: Time) -> Time {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = (now.as_secs().cast_signed(), i64::from(now.subsec_nanos()));
    match now > newest {
        true => now,
        false => (newest.0 + 1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_put_over_a_commit_or_through_its_links() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        std::fs::create_dir_all(top.join("a/target")).unwrap();
        std::os::unix::fs::symlink("/tmp", top.join("link")).unwrap();
        assert_eq!(in_the_way(top, "a/target"), Some("a/target"));
        assert_eq!(in_the_way(top, "link/x/target"), Some("link"));
        assert_eq!(in_the_way(top, "a/out"), None);
        assert_eq!(in_the_way(top, "b/out"), None);
    }

    #[test]
    fn what_is_fresh_is_newer_than_what_was_made_before() {
        let far = 7_258_118_400;
        assert_eq!(fresh((far, 5)), (far + 1, 0));
        assert!(fresh((0, 0)).0 > 1_600_000_000);
    }
}
