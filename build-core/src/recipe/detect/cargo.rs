//! Rust packages and workspaces.

use std::collections::BTreeSet;

use super::guess::{Guess, step};
use super::look::{Look, dir_of, join};
use crate::error::Result;
use crate::tarutil::Glob;

/// Manifests of members that are read to find the packages they reach by path.
const MAX_READ: usize = 64;

/// Builds and tests every package of the workspace.
pub(super) async fn cargo(look: &Look<'_>, dir: &str) -> Result<Guess> {
    let manifest = look.toml(&join(dir, "Cargo.toml")).await?;
    let mut flags = String::new();
    if manifest.contains_key("workspace") {
        flags.push_str(" --workspace");
    }
    if look.has_in(dir, "Cargo.lock").await? {
        flags.push_str(" --locked");
    }
    let mut guess = Guess::chain(vec![
        step("build", &format!("cargo build{flags}"), &["cargo"]),
        step("test", &format!("cargo test{flags}"), &["cargo"]),
    ]);
    guess.steps[1].cache = vec!["target".to_owned()];
    if dir.is_empty() {
        for path in strangers(look, &manifest).await? {
            guess.not_run(&path, "it is no member of the workspace");
        }
    }
    Ok(guess)
}

/// Manifests below the root that the workspace does not reach.
async fn strangers(look: &Look<'_>, root: &toml::Table) -> Result<Vec<String>> {
    let is_workspace = root.contains_key("workspace");
    let list = |key: &str| strings(root.get("workspace").and_then(|w| w.get(key)));
    let (members, excluded) = (list("members"), list("exclude"));
    let mut waiting: Vec<String> = look.nested("Cargo.toml").map(str::to_owned).collect();
    let mut reached = BTreeSet::new();
    if is_workspace {
        reached = by_path("", root);
    }
    let is_member = |dir: &str| {
        let globs = members
            .iter()
            .any(|m| Glob::new(m.trim_end_matches('/')).matches(dir.as_bytes()));
        globs && !excluded.iter().any(|e| e.trim_end_matches('/') == dir)
    };
    let mut left = MAX_READ;
    loop {
        let (found, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|path| {
            is_workspace && (is_member(dir_of(path)) || reached.contains(dir_of(path)))
        });
        waiting = rest;
        // What is reached by path is a member too; without strangers nothing need be read.
        if found.is_empty() || waiting.is_empty() || left == 0 {
            return Ok(waiting);
        }
        for path in found.iter().take(left) {
            let manifest = look.toml(path).await?;
            reached.extend(by_path(dir_of(path), &manifest));
        }
        left = left.saturating_sub(found.len());
    }
}

/// Directories that a package in `dir` depends on by path.
fn by_path(dir: &str, manifest: &toml::Table) -> BTreeSet<String> {
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let of = |table: &toml::Table| {
        let tables = kinds.iter().filter_map(|kind| table.get(*kind)?.as_table());
        let paths = tables.flat_map(|t| t.values().filter_map(|d| d.get("path")?.as_str()));
        paths
            .filter_map(|path| resolve(dir, path))
            .collect::<Vec<_>>()
    };
    let mut found = of(manifest);
    let shared = manifest.get("workspace").and_then(|w| w.as_table());
    found.extend(shared.map(of).unwrap_or_default());
    let targets = manifest.get("target").and_then(|t| t.as_table());
    for target in targets.into_iter().flat_map(|t| t.values()) {
        found.extend(target.as_table().map(of).unwrap_or_default());
    }
    found.into_iter().collect()
}

/// `../b` from `a` is `b`; `None` when it leads out of the tree.
fn resolve(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn strings(value: Option<&toml::Value>) -> Vec<String> {
    let list = value.and_then(toml::Value::as_array);
    let names = list.into_iter().flatten().filter_map(|v| v.as_str());
    names.map(str::to_owned).collect()
}
