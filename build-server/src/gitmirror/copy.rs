//! The copy of a repository: brought up to date from its source, and pushed on.
//!
//! Nothing is lost by mistake. A source that suddenly has no branches, or far fewer references,
//! is not followed. Each reference at a destination changes from the value that was seen there,
//! or not at all, and what is overwritten or deleted there is kept here below `refs/lost/`.
//! References outside of `refs/heads/` and `refs/tags/` are never touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind, Result};

use super::config::{DestSpec, RepoSpec};
use crate::child::{Command, Git};

/// To list the references of a repository.
const LIST_LIMIT: Duration = Duration::from_secs(30);
/// References that one push changes: their names are arguments.
const BATCH: usize = 200;

/// References and what they are at.
pub(super) type Refs = BTreeMap<String, String>;

/// The copy of one repository.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    dir: PathBuf,
    limit: Duration,
}

/// What a push did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    pub(super) updated: usize,
    pub(super) deleted: usize,
}

impl Copy {
    pub(super) fn new(cache: &Path, name: &str, limit: Duration) -> Self {
        let dir = cache.join(format!("{name}.git"));
        Self { dir, limit }
    }

    pub(super) fn git(&self) -> Git {
        Git::new(&self.dir).limit(self.limit)
    }

    /// Makes the copy when it is not there. One that is broken is put aside, not deleted.
    pub(super) async fn prepare(&self, now: Timestamp) -> Result<()> {
        if self.dir.exists() {
            let asked = self
                .git()
                .ask(["rev-parse", "--is-bare-repository"])
                .await?;
            if asked.status.success() && asked.text() == "true" {
                return Ok(());
            }
            let aside = self
                .dir
                .with_extension(format!("broken-{}", now.as_micros()));
            tracing::error!(to = %aside.display(), "a broken copy is put aside");
            fs::rename(&self.dir, aside)?;
        }
        fs::create_dir_all(&self.dir)?;
        self.git().run(["init", "--quiet", "--bare", "."]).await?;
        Ok(())
    }

    /// The branches and tags at a place.
    pub(super) async fn list(&self, at: Command) -> Result<Refs> {
        let output = at.limit(LIST_LIMIT).run().await?.passed()?;
        Ok(refs(&String::from_utf8_lossy(&output), '\t'))
    }

    /// The source's branches and tags.
    pub(super) async fn source(&self, spec: &RepoSpec) -> Result<Refs> {
        let args = [
            "ls-remote",
            "--refs",
            "--heads",
            "--tags",
            "--end-of-options",
            &spec.source,
        ];
        self.list(self.git().command(args)).await
    }

    /// The copy's branches and tags.
    pub(super) async fn own(&self) -> Result<Refs> {
        let args = [
            "for-each-ref",
            "--format=%(objectname)\t%(refname)",
            "refs/heads",
            "refs/tags",
        ];
        Ok(refs(&self.git().run(args).await?, '\t'))
    }

    /// Brings the copy to what the source has.
    pub(super) async fn fetch(&self, spec: &RepoSpec, source: &Refs) -> Result<()> {
        let own = self.own().await?;
        let gone = own
            .keys()
            .filter(|name| !source.contains_key(*name))
            .count();
        let heads = |refs: &Refs| refs.keys().filter(|n| n.starts_with("refs/heads/")).count();
        if heads(source) == 0 && heads(&own) > 0 {
            return Err(refused("the source has no branches any more"));
        }
        if gone > spec.may_delete(own.len()) {
            let text = format!(
                "the source has lost {gone} of {} branches and tags",
                own.len()
            );
            return Err(refused(&text));
        }
        let mut args = vec![
            "fetch",
            "--quiet",
            "--prune",
            "--no-tags",
            "--end-of-options",
            &spec.source,
        ];
        args.extend(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]);
        if spec.changes {
            args.push("+refs/changes/*:refs/changes/*");
        }
        self.git().run(args).await?;
        Ok(())
    }

    /// Brings a destination to what the copy has.
    pub(super) async fn push(&self, spec: &RepoSpec, dest: &DestSpec) -> Result<Pushed> {
        let git = self.git_for(dest)?;
        let args = [
            "ls-remote",
            "--refs",
            "--heads",
            "--tags",
            "--end-of-options",
            &dest.url,
        ];
        let listed = git.0.command(args).envs(git.1.clone());
        let mut there = self.list(listed).await?;
        let mut own = self.own().await?;
        there.retain(|name, _| spec.mirrors(name));
        own.retain(|name, _| spec.mirrors(name));
        if own.is_empty() && !there.is_empty() {
            return Err(refused(
                "there is nothing to push, but the destination has something",
            ));
        }
        let updates: Vec<(&String, &String)> = own
            .iter()
            .filter(|(name, hash)| there.get(*name) != Some(hash))
            .collect();
        let deletes: Vec<&String> = there
            .keys()
            .filter(|name| !own.contains_key(*name))
            .collect();
        if deletes.len() > spec.may_delete(there.len()) {
            let text = format!(
                "{} of {} branches and tags would be deleted",
                deletes.len(),
                there.len()
            );
            return Err(refused(&text));
        }
        let changed = updates
            .iter()
            .map(|(name, _)| *name)
            .chain(deletes.iter().copied());
        for name in changed {
            if let Some(old) = there.get(name) {
                self.keep(&git, dest, name, old, own.get(name)).await?;
            }
        }
        // Exactly from what was seen: somebody else's push in between is not overwritten.
        let lease = |name: &str| {
            let seen = there.get(name).map_or("", String::as_str);
            format!("--force-with-lease={name}:{seen}")
        };
        let mut changes: Vec<(String, String)> = Vec::new();
        changes.extend(
            updates
                .iter()
                .map(|(name, hash)| (lease(name), format!("{hash}:{name}"))),
        );
        changes.extend(deletes.iter().map(|name| (lease(name), format!(":{name}"))));
        for batch in changes.chunks(BATCH) {
            let mut args: Vec<&str> = vec!["push", "--quiet", "--no-verify"];
            args.extend(batch.iter().map(|(lease, _)| lease.as_str()));
            args.extend(["--end-of-options", &dest.url]);
            args.extend(batch.iter().map(|(_, refspec)| refspec.as_str()));
            let push = git.0.command(args).envs(git.1.clone());
            push.run().await?.passed()?;
        }
        Ok(Pushed {
            updated: updates.len(),
            deleted: deletes.len(),
        })
    }

    /// Keeps what a destination has under `name`, unless what comes after holds it.
    async fn keep(
        &self,
        git: &(Git, Vec<(String, String)>),
        dest: &DestSpec,
        name: &str,
        old: &str,
        new: Option<&String>,
    ) -> Result<()> {
        let own = self.git();
        let has = own.ask(["cat-file", "-e", old]).await?.status.success();
        if let (true, Some(new)) = (has, new) {
            let holds = own.ask(["merge-base", "--is-ancestor", old, new]).await?;
            if holds.status.success() {
                return Ok(());
            }
        }
        let short = name.trim_start_matches("refs/");
        let dest_name: String = dest
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let kept = format!("refs/lost/{dest_name}/{old}/{short}");
        if has {
            own.run(["update-ref", &kept, old]).await?;
        } else {
            let from_to = format!("+{name}:{kept}");
            let args = [
                "fetch",
                "--quiet",
                "--no-tags",
                "--end-of-options",
                &dest.url,
                &from_to,
            ];
            git.0
                .command(args)
                .envs(git.1.clone())
                .run()
                .await?
                .passed()?;
        }
        tracing::warn!(
            dest = dest.name,
            name,
            old,
            kept,
            "what is replaced is kept"
        );
        Ok(())
    }

    /// Git with what it needs to talk to a destination. Secrets are in variables, not in
    /// arguments that everybody can list.
    fn git_for(&self, dest: &DestSpec) -> Result<(Git, Vec<(String, String)>)> {
        let mut git = self.git().ssh("ssh -o BatchMode=yes");
        let mut env = Vec::new();
        if let Some(key) = &dest.ssh_key {
            let key = key.display();
            git = git.ssh(format!(
                "ssh -i {key} -o IdentitiesOnly=yes -o BatchMode=yes"
            ));
        }
        if let Some(file) = &dest.credentials {
            let read = fs::read_to_string(file);
            let pair =
                read.map_err(|e| Error::from(e).while_doing(format!("read {}", file.display())))?;
            let code = BASE64_STANDARD.encode(pair.trim());
            let value = format!("Authorization: Basic {code}");
            env = vec![
                ("GIT_CONFIG_COUNT".to_owned(), "1".to_owned()),
                ("GIT_CONFIG_KEY_0".to_owned(), "http.extraHeader".to_owned()),
                ("GIT_CONFIG_VALUE_0".to_owned(), value),
            ];
        }
        Ok((git, env))
    }
}

fn refused(text: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("not mirrored: {text}"))
        .with_hint("look at both sides; set max_deletions of the repository to allow it")
}

/// Lines of a hash and a name.
fn refs(listed: &str, between: char) -> Refs {
    let pairs = listed.lines().filter_map(|line| line.split_once(between));
    pairs
        .map(|(hash, name)| (name.trim().to_owned(), hash.trim().to_owned()))
        .collect()
}
