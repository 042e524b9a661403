//! `gomote push`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use build_client::gomote::push::{Plan, Profile, apply, look};
use build_core::builders::Farm;
use farmer_cli::{Failure, progress};
use serde_json::json;

use super::args::Push;
use super::files::bootstrap;
use super::place::Place;
use super::target::Target;
use crate::told::failed;

/// So many names that the machine does not have are told.
const TOLD: usize = 5;

pub(super) async fn push(place: &Place, args: Push) -> Result<(), Failure> {
    let mut words: VecDeque<String> = args.words.clone().into();
    let targets = place.targets(&mut words).await?;
    let (root, mut profile) = match &args.root {
        Some(root) => (root.clone(), Profile::default()),
        None => (goroot()?, Profile::go()),
    };
    if !root.is_dir() {
        return Err(Failure::usage(
            format!("{} is no directory", root.display()),
            "name the tree with -root, or set GOROOT",
        ));
    }
    if let Some(dir) = &args.remote_dir {
        profile.remote_dir.clone_from(dir);
    }
    let all = targets
        .iter()
        .map(|target| one(place, target, &root, &profile, &args));
    futures::future::try_join_all(all).await.map(drop)
}

fn goroot() -> Result<PathBuf, Failure> {
    if let Some(root) = std::env::var_os("GOROOT").filter(|root| !root.is_empty()) {
        return Ok(root.into());
    }
    let asked = std::process::Command::new("go")
        .args(["env", "GOROOT"])
        .output();
    let root = asked.ok().filter(|output| output.status.success());
    let root = root.and_then(|output| String::from_utf8(output.stdout).ok());
    root.map(|root| PathBuf::from(root.trim()))
        .filter(|root| !root.as_os_str().is_empty())
        .ok_or_else(|| {
            Failure::usage(
                "there is no GOROOT, and no go on PATH",
                "name the tree with -root DIR",
            )
        })
}

async fn one(
    place: &Place,
    target: &Target,
    root: &Path,
    profile: &Profile,
    args: &Push,
) -> Result<(), Failure> {
    let cache = Some(place.cache.as_path()).filter(|_| !args.no_cache);
    let looked = look(&*target.machine, root, profile, !args.no_ignore, cache).await;
    let (plan, remote) = looked.map_err(|e| failed(&e))?;
    let is_go = args.root.is_none();
    let has_bootstrap = remote
        .iter()
        .any(|entry| entry.name.as_bytes().starts_with(b"go1.4/"));
    if is_go && !has_bootstrap && !args.dry_run && needs_bootstrap(target) {
        eprintln!("# installing go1.4");
        bootstrap(target).await?;
    }
    tell(&plan, args.dry_run);
    if args.dry_run {
        if place.json {
            println!(
                "{}",
                json!({"instance": target.name, "delete": plan.delete, "send": plan.send})
            );
        }
        return Ok(());
    }
    let bar = progress::counter("bytes sent");
    let counting = bar.clone();
    let pushed = apply(&*target.machine, root, profile, &plan, move |bytes| {
        counting.set_position(bytes);
    });
    let pushed = pushed.await.map_err(|e| failed(&e))?;
    bar.finish_and_clear();
    if place.json {
        println!(
            "{}",
            json!({"instance": target.name, "sent": pushed.sent, "removed": pushed.removed, "bytes": pushed.bytes})
        );
    }
    Ok(())
}

fn needs_bootstrap(target: &Target) -> bool {
    let farm = Farm::go2020();
    let builder = target.of_go(&farm);
    builder.is_some_and(|builder| !builder.host().bootstrap_url.is_empty())
}

fn tell(plan: &Plan, dry_run: bool) {
    for name in plan.new.iter().take(TOLD) {
        eprintln!("# Remote doesn't have {name:?}");
    }
    if plan.new.len() > TOLD {
        eprintln!(
            "# Remote doesn't have {} files (only showed {TOLD}).",
            plan.new.len()
        );
    }
    if !plan.delete.is_empty() {
        let would = if dry_run {
            "(Dry-run) Would delete"
        } else {
            "Deleting"
        };
        eprintln!("# {would} remote files: {:?}", plan.delete);
    }
    if !plan.send.is_empty() {
        let would = if dry_run {
            "(Dry-run) Would upload"
        } else {
            "Uploading"
        };
        eprintln!("# {would} {} new/changed files.", plan.send.len());
    }
}
