//! The life of one Gerrit change: patch sets and the commits of its meta ref.

use super::World;
use super::commit::{FileNames, Stamp, commit, message_bytes, raw};
use super::people::People;
use super::rng::{Quantiles, Rng};
use crate::pb::{GitCommit, GitDiffTreeFile, GitRef};

const COMMENT: &Quantiles = &[
    (0, 0),
    (300, 10),
    (500, 60),
    (750, 180),
    (900, 500),
    (1000, 3_000),
];
const LABELS: [(&str, &str); 6] = [
    ("Code-Review", "+2"),
    ("Code-Review", "+1"),
    ("Code-Review", "-2"),
    ("Run-TryBot", "+1"),
    ("Trust", "+1"),
    ("Hold", "+1"),
];

/// How a change ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Merged,
    Abandoned,
}

/// A change and what is still to happen to it.
pub(super) struct Change {
    rng: Rng,
    project: usize,
    branch: usize,
    number: u64,
    change_id: String,
    subject: String,
    version: u64,
    head: String,
    meta: Option<String>,
    metas_left: u64,
    patch_sets_left: u64,
    outcome: Option<Outcome>,
    hashtags: Vec<String>,
    submission: String,
}

/// What one step of a change adds to the log.
pub(super) struct Step {
    pub(super) kind: &'static str,
    pub(super) commits: Vec<GitCommit>,
    pub(super) refs: Vec<GitRef>,
    pub(super) outcome: Option<Outcome>,
    pub(super) delay: Option<u64>,
}

impl Change {
    pub(super) fn new(
        world: &World,
        mut rng: Rng,
        index: u64,
        project: usize,
        branch: usize,
    ) -> Box<Self> {
        let outcome = match rng.below(100) {
            0..=71 => Some(Outcome::Merged),
            72..=95 => Some(Outcome::Abandoned),
            _ => None,
        };
        let patch_sets_left = match rng.below(100) {
            0..=89 => rng.geometric(2, 20),
            _ => rng.geometric(10, 149),
        };
        let change_id = format!("I{}", rng.hash());
        let topic = world.vocabulary.line(&mut rng, 8);
        Box::new(Self {
            project,
            branch,
            number: 1_000 + index * 9 / 2,
            change_id,
            subject: format!("{topic}: {}", world.vocabulary.line(&mut rng, 35)),
            version: 0,
            head: String::new(),
            meta: None,
            metas_left: 1 + patch_sets_left + 2 + rng.geometric(10, 120),
            patch_sets_left,
            outcome,
            hashtags: Vec::new(),
            submission: format!("{}-{index}", rng.below(1 << 40)),
            rng,
        })
    }

    pub(super) fn project(&self) -> usize {
        self.project
    }

    pub(super) fn branch(&self) -> usize {
        self.branch
    }

    pub(super) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// The footers of the commit that a merge makes.
    pub(super) fn merged_footer(&self) -> String {
        format!(
            "Change-Id: {}\nReviewed-on: https://go-review.googlesource.com/{}\n",
            self.change_id, self.number
        )
    }

    /// The next thing that happens. `branch` and `tip` are where the change is
    /// to go.
    pub(super) fn step(
        &mut self,
        world: &World,
        files: &mut FileNames,
        branch: &str,
        tip: &str,
        time: u64,
    ) -> Step {
        let mut step = Step {
            kind: "meta commits",
            commits: Vec::new(),
            refs: Vec::new(),
            outcome: None,
            delay: None,
        };
        self.metas_left = self.metas_left.saturating_sub(1);
        let due = self.rng.below(self.metas_left + 1) < self.patch_sets_left;
        let message = if self.version == 0 || due {
            self.patch_sets_left = self
                .patch_sets_left
                .saturating_sub(u64::from(self.version > 0));
            self.version += 1;
            let made = self.patch_set(world, files, tip, time);
            step.refs
                .push(self.git_ref(&self.version.to_string(), &made[0].sha1));
            self.head.clone_from(&made[0].sha1);
            step.commits.extend(made);
            self.uploaded(branch)
        } else if self.metas_left == 0 {
            step.outcome = self.outcome;
            self.ended(world)
        } else {
            self.edited(world)
        };
        let meta = self.meta_commit(world, &message, time);
        step.refs.push(self.git_ref("meta", &meta.sha1));
        self.meta = Some(meta.sha1.clone());
        step.commits.push(meta);
        step.delay = (self.metas_left > 0).then(|| 300 + self.rng.skewed(1_000_000));
        step
    }

    /// The commit of a patch set; before it in time, but after it in the log,
    /// a parent that nobody pushed to the branch.
    fn patch_set(
        &mut self,
        world: &World,
        files: &mut FileNames,
        tip: &str,
        time: u64,
    ) -> Vec<GitCommit> {
        let stacked = self.rng.chance(50_000);
        let parent = if stacked {
            self.rng.hash()
        } else {
            tip.to_owned()
        };
        let mut made = vec![self.code_commit(world, files, &parent, time)];
        if stacked {
            let below = self.code_commit(world, files, tip, time - 100);
            made.push(GitCommit {
                sha1: parent,
                ..below
            });
        }
        made
    }

    fn code_commit(
        &mut self,
        world: &World,
        files: &mut FileNames,
        parent: &str,
        time: u64,
    ) -> GitCommit {
        let rng = &mut self.rng;
        let author = world.people.author(rng);
        let (name, zone) = (author.git(), author.zone);
        let mut message = format!("{}\n\n", self.subject);
        let bytes = message_bytes(rng);
        world.vocabulary.prose(rng, &mut message, bytes);
        message.push_str("\n\n");
        if rng.chance(600_000) {
            let word = rng.pick(&["Fixes", "Updates", "For golang/go"]);
            let gap = if word.contains('/') { "" } else { " " };
            message.push_str(&format!("{word}{gap}#{}\n\n", 1 + rng.skewed(40_000)));
        }
        message.push_str(&format!("Change-Id: {}\n", self.change_id));
        let stamp = Stamp {
            author: &name,
            committer: &name,
            time,
            zone,
        };
        let body = raw(rng, &[parent], stamp, &message);
        let changed = files.changed(rng, &world.vocabulary);
        commit(rng.hash(), body, changed)
    }

    fn meta_commit(&mut self, world: &World, message: &str, time: u64) -> GitCommit {
        let rng = &mut self.rng;
        let author = world.people.author(rng);
        let (name, zone) = (author.gerrit(), author.zone);
        let server = People::server();
        let stamp = Stamp {
            author: &name,
            committer: &server,
            time,
            zone,
        };
        let parents: Vec<&str> = self.meta.as_deref().into_iter().collect();
        let body = raw(rng, &parents, stamp, message);
        let commented = !parents.is_empty() && rng.chance(300_000);
        let files = commented.then(|| GitDiffTreeFile {
            file: self.head.clone(),
            added: 1 + rng.skewed(60).cast_signed(),
            deleted: 0,
            binary: false,
        });
        commit(rng.hash(), body, files.into_iter().collect())
    }

    fn uploaded(&mut self, branch: &str) -> String {
        let Self {
            version,
            change_id,
            subject,
            head,
            ..
        } = self;
        let vote = self.rng.chance(200_000);
        let (said, footer) = if vote {
            (": Run-TryBot+1", "Label: Run-TryBot=+1\n")
        } else {
            ("", "")
        };
        let first = format!(
            "Change-id: {change_id}\nSubject: {subject}\nBranch: {branch}\nStatus: new\nTopic: \n"
        );
        let later = format!("Subject: {subject}\n");
        let (title, what) = if *version == 1 {
            ("change".to_owned(), first)
        } else {
            (format!("patch set {version}"), later)
        };
        let mut message = format!(
            "Create {title}\n\nUploaded patch set {version}{said}.\n\nPatch-set: {version}\n{what}Commit: {head}\n\
             Tag: autogenerated:gerrit:newPatchSet\nGroups: {head}\n{footer}"
        );
        if *version == 1 {
            let private = self.rng.chance(500);
            message.push_str(&format!(
                "Private: {private}\nWork-in-progress: {}\n",
                self.rng.chance(30_000)
            ));
        }
        message
    }

    fn ended(&mut self, world: &World) -> String {
        let version = self.version;
        match self.outcome {
            Some(Outcome::Merged) => format!(
                "Update patch set {version}\n\nChange has been successfully cherry-picked as {} by {}\n\n\
                 Patch-set: {version}\nStatus: merged\nTag: autogenerated:gerrit:merged\nReviewer: {}\n\
                 Submission-id: {}\nSubmitted-with: OK\n",
                self.head,
                world.people.author(&mut self.rng).name,
                world.people.author(&mut self.rng).gerrit(),
                self.submission,
            ),
            Some(Outcome::Abandoned) => {
                format!(
                    "Update patch set {version}\n\nAbandoned\n\nPatch-set: {version}\nStatus: abandoned\n"
                )
            }
            None => format!("Update patch set {version}\n\nPatch-set: {version}\nPrivate: false\n"),
        }
    }

    fn edited(&mut self, world: &World) -> String {
        let version = self.version;
        match self.rng.below(70) {
            0..=43 => self.commented(world),
            44..=55 => {
                let who = world.people.author(&mut self.rng).gerrit();
                let key = self.rng.pick(&["Reviewer", "Reviewer", "CC", "Removed"]);
                format!("Update patch set {version}\n\nPatch-set: {version}\n{key}: {who}\n")
            }
            56..=57 => self.hashtags(world),
            58 => {
                let on = self.rng.chance(300_000);
                format!(
                    "Update patch set {version}\n\nSet Work In Progress\n\nPatch-set: {version}\n\
                     Tag: autogenerated:gerrit:setWorkInProgress\nWork-in-progress: {on}\n"
                )
            }
            59 if self.rng.chance(20_000) => {
                let on = self.rng.chance(500_000);
                format!(
                    "Update patch set {version}\n\nPatch-set: {version}\nTag: autogenerated:gerrit:setPrivate\nPrivate: {on}\n"
                )
            }
            60 => format!(
                "Update patch set {version}\n\nPatch-set: {version}\nTopic: {}\n",
                world.vocabulary.line(&mut self.rng, 10)
            ),
            _ => self.bot(),
        }
    }

    fn commented(&mut self, world: &World) -> String {
        let version = self.version;
        let (label, value) = self.rng.pick(&LABELS);
        let vote = self.rng.below(10);
        let said = match vote {
            0..=3 => format!(" {label}{value}"),
            4 => format!(" -{label}"),
            _ => String::new(),
        };
        let mut message = format!("Update patch set {version}\n\nPatch Set {version}:{said}\n\n");
        let bytes = self.rng.quantile(COMMENT) as usize;
        if bytes > 0 {
            world.vocabulary.prose(&mut self.rng, &mut message, bytes);
            message.push_str("\n\n(2 comments)\n\n");
        }
        message.push_str(&format!("Patch-set: {version}\n"));
        match vote {
            0..=2 => message.push_str(&format!("Label: {label}={value}\n")),
            3 => {
                let who = world.people.author(&mut self.rng).gerrit();
                message.push_str(&format!("Label: {label}={value} {who}\n"));
            }
            4 => message.push_str(&format!("Label: -{label}\n")),
            _ => {}
        }
        message
    }

    fn hashtags(&mut self, world: &World) -> String {
        let version = self.version;
        let (verb, tag) = match self.hashtags.pop() {
            Some(tag) if self.rng.chance(400_000) => ("removed", tag),
            kept => {
                self.hashtags.extend(kept);
                let tag = world.vocabulary.word(self.rng.index(4_000)).to_owned();
                self.hashtags.push(tag.clone());
                ("added", tag)
            }
        };
        format!(
            "Update patch set {version}\n\nHashtag {verb}: {tag}\n\nPatch-set: {version}\nHashtags: {}\n\
             Tag: autogenerated:gerrit:setHashtag\n",
            self.hashtags.join(", ")
        )
    }

    fn bot(&mut self) -> String {
        let version = self.version;
        let result = self.rng.pick(&["+1", "-1"]);
        let gobot = "Gobot Gobot <5976@62eb7196-b449-3ce5-99f1-c037f21e1705>";
        if self.rng.chance(500_000) {
            format!(
                "Update patch set {version}\n\nPatch Set {version}:\n\nTryBots beginning. Status page: https://farmer.golang.org/try?commit={}\n\n\
                 Patch-set: {version}\nTag: autogenerated:trybots~beginning\n",
                &self.head[..8]
            )
        } else {
            format!(
                "Update patch set {version}\n\nPatch Set {version}: TryBot-Result{result}\n\nTryBots are happy.\n\n\
                 Patch-set: {version}\nReviewer: {gobot}\nTag: autogenerated:trybots~result\nLabel: TryBot-Result={result} {gobot}\n"
            )
        }
    }

    fn git_ref(&self, leaf: &str, hash: &str) -> GitRef {
        let Self { number, .. } = self;
        GitRef {
            r#ref: format!("refs/changes/{:02}/{number}/{leaf}", number % 100),
            sha1: hash.to_owned(),
        }
    }
}
