//! Projects, their history, and the life of their changes, as Gerrit's
//! mutations: commits, then the refs of a while together.

use super::World;
use super::change::{Change, Outcome};
use super::commit::{FileNames, Stamp, commit, message_bytes, raw};
use super::faults::Fault;
use super::rng::{Rng, Stream};
use crate::Result;
use crate::pb::{GerritMutation, GitCommit, GitMutation, GitRef, GitRepo, Mutation};

/// Most refs in one mutation.
const REFS: usize = 250;

/// All projects.
pub(super) struct Gerrit {
    projects: Vec<Project>,
    weights: Vec<u64>,
}

/// A project and the refs that wait to be logged.
pub(super) struct Project {
    name: String,
    files: FileNames,
    rng: Rng,
    branches: Vec<(String, String)>,
    refs: Vec<GitRef>,
    late: Vec<GitCommit>,
}

impl Gerrit {
    /// The projects with their history logged.
    pub(super) fn new(world: &mut World, count: u64, history: u64) -> Result<Self> {
        let weights: Vec<u64> = (0..count)
            .map(|i| if i == 0 { 62_000 } else { 38_000 / (i * 4) })
            .collect();
        let total: u64 = weights.iter().sum();
        let mut projects = Vec::new();
        for (index, weight) in (0..count).zip(&weights) {
            let mut project = Project::new(world, index);
            project.import_history(world, 1 + history * weight / total)?;
            projects.push(project);
        }
        Ok(Self { projects, weights })
    }

    /// Changes `0..count` with their whole lives, as a first look at a server
    /// finds them: refs in the order of their names.
    pub(super) fn import_changes(
        &mut self,
        world: &mut World,
        count: u64,
        time: u64,
    ) -> Result<()> {
        for index in 0..count {
            let mut rng = Rng::new(world.seed, Stream::Import, index);
            let mut change = self.begin(world, index);
            let mut now = time - 30_000_000 + rng.below(1_000_000);
            while let Some(delay) = self.go_on(world, &mut change, now)? {
                now += delay.min(100_000);
            }
        }
        for project in &mut self.projects {
            project.refs.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
            // Of the many heads of a meta ref only the last is there to be seen.
            project.refs.reverse();
            project
                .refs
                .dedup_by(|earlier, later| earlier.r#ref == later.r#ref);
            project.refs.reverse();
            project.publish(world)?;
        }
        Ok(())
    }

    /// Change number `index` is pushed for the first time.
    pub(super) fn begin(&self, world: &World, index: u64) -> Box<Change> {
        let mut rng = Rng::new(world.seed_now(), Stream::Change, index);
        let project = rng.weighted(&self.weights);
        let branch = rng.index(self.projects[project].branches.len() * 6);
        let branch = if branch < self.projects[project].branches.len() {
            branch
        } else {
            0
        };
        Change::new(world, rng, index, project, branch)
    }

    /// Something happens to a change; returns the delay until the next time.
    pub(super) fn go_on(
        &mut self,
        world: &mut World,
        change: &mut Change,
        time: u64,
    ) -> Result<Option<u64>> {
        let project = &mut self.projects[change.project()];
        let (branch, tip) = project.branches[change.branch()].clone();
        let step = change.step(world, &mut project.files, &branch, &tip, time);
        for commit in step.commits {
            if change.rng().chance(1_000) {
                project.late.push(commit);
            } else {
                project.put_commit(world, step.kind, commit)?;
            }
        }
        project.refs.extend(step.refs);
        if step.outcome == Some(Outcome::Merged) {
            project.merge(world, change, time)?;
        }
        Ok(step.delay)
    }

    /// Logs the refs that wait in a project.
    pub(super) fn publish(&mut self, world: &mut World, project: usize) -> Result<()> {
        self.projects[project].publish(world)
    }

    pub(super) fn publish_all(&mut self, world: &mut World) -> Result<()> {
        self.projects
            .iter_mut()
            .try_for_each(|project| project.publish(world))
    }
}

impl Project {
    fn new(world: &World, index: u64) -> Self {
        let mut rng = Rng::new(world.seed, Stream::Project, index);
        let name = match index {
            0 => "go.googlesource.com/go".to_owned(),
            1 => "go.googlesource.com/build".to_owned(),
            2 => "code.googlesource.com/gocloud".to_owned(),
            _ => format!(
                "go.googlesource.com/{}-{index}",
                world.vocabulary.word(rng.index(4_000))
            ),
        };
        let (files, branches) = (FileNames::default(), Vec::new());
        Self {
            name,
            files,
            rng,
            branches,
            refs: Vec::new(),
            late: Vec::new(),
        }
    }

    /// A line of commits, newest first as they are found, and the branches.
    fn import_history(&mut self, world: &mut World, count: u64) -> Result<()> {
        let mut child = self.rng.hash();
        self.branches
            .push(("refs/heads/master".to_owned(), child.clone()));
        self.set_ref("HEAD", &child);
        self.set_ref("refs/heads/master", &child);
        self.set_ref("refs/meta/config", &child);
        for age in 0..count {
            let parent = (age + 1 < count).then(|| self.rng.hash());
            let time = world.epoch - 7_000 * age;
            let made = self.mainline(world, child.clone(), parent.as_deref(), time, None);
            if age > 0 && age % 400 == 0 {
                let branch = format!("refs/heads/release-branch.go1.{}", age / 400);
                self.set_ref(&branch, &child);
                self.branches.push((branch, child.clone()));
            }
            if self.rng.chance(10_000) {
                self.tag(world, &made, age)?;
            }
            // Logs from before the Gerrit mirror hold some of the main history.
            if self.name.ends_with("/go") && age > count - count / 10 {
                let repo = Some(GitRepo {
                    go_repo: "go".to_owned(),
                });
                let git = GitMutation {
                    repo,
                    commit: Some(made.clone()),
                };
                world.put(
                    "mainline commits",
                    Mutation {
                        git: Some(git),
                        ..Default::default()
                    },
                )?;
            }
            self.put_commit(world, "mainline commits", made)?;
            child = parent.unwrap_or_default();
        }
        self.refs.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
        self.publish(world)
    }

    fn mainline(
        &mut self,
        world: &World,
        hash: String,
        parent: Option<&str>,
        time: u64,
        footer: Option<&str>,
    ) -> GitCommit {
        let author = world.people.author(&mut self.rng);
        let (name, zone) = (author.git(), author.zone);
        let committer = world.people.author(&mut self.rng).git();
        let mut message = world.vocabulary.line(&mut self.rng, 40);
        message.push_str("\n\n");
        let bytes = message_bytes(&mut self.rng);
        world.vocabulary.prose(&mut self.rng, &mut message, bytes);
        message.push_str("\n\n");
        message.push_str(footer.unwrap_or_default());
        let stamp = Stamp {
            author: &name,
            committer: &committer,
            time,
            zone,
        };
        let second = footer
            .is_some()
            .then(|| self.merged_parent(world))
            .flatten();
        let parents: Vec<&str> = parent.into_iter().chain(second.as_deref()).collect();
        let body = raw(&mut self.rng, &parents, stamp, &message);
        // git prints no files for roots and merges.
        let files = match parents.len() {
            1 => self.files.changed(&mut self.rng, &world.vocabulary),
            _ => Vec::new(),
        };
        commit(hash, body, files)
    }

    /// The second parent that few commits have: another branch, or with the
    /// fault something that nobody ever sees.
    fn merged_parent(&mut self, world: &World) -> Option<String> {
        let unseen = world.has(Fault::Placeholders);
        if !self.rng.chance(if unseen { 100_000 } else { 2_000 }) {
            return None;
        }
        if unseen {
            return Some(self.rng.hash());
        }
        self.branches
            .last()
            .filter(|_| self.branches.len() > 1)
            .map(|branch| branch.1.clone())
    }

    /// An annotated tag: its own hash, the content of the commit behind it.
    fn tag(&mut self, world: &mut World, tagged: &GitCommit, age: u64) -> Result<()> {
        let name = format!("refs/tags/go1.{}.{}", age / 400, age % 400);
        let hash = self.rng.hash();
        self.put_commit(
            world,
            "tags",
            GitCommit {
                sha1: hash.clone(),
                ..tagged.clone()
            },
        )?;
        self.set_ref(&name, &hash);
        self.set_ref(&format!("{name}^{{}}"), &tagged.sha1);
        Ok(())
    }

    /// The change becomes a commit of its branch.
    fn merge(&mut self, world: &mut World, change: &Change, time: u64) -> Result<()> {
        let (branch, tip) = self.branches[change.branch()].clone();
        let hash = self.rng.hash();
        let footer = change.merged_footer();
        let made = self.mainline(world, hash.clone(), Some(&tip), time, Some(&footer));
        if self.rng.chance(10_000) {
            self.tag(world, &made, time % 1_000_000)?;
        }
        self.put_commit(world, "mainline commits", made)?;
        self.set_ref(&branch, &hash);
        self.branches[change.branch()].1 = hash;
        Ok(())
    }

    fn set_ref(&mut self, name: &str, hash: &str) {
        self.refs.push(GitRef {
            r#ref: name.to_owned(),
            sha1: hash.to_owned(),
        });
    }

    fn put_commit(&self, world: &mut World, kind: &'static str, commit: GitCommit) -> Result<()> {
        let gerrit = GerritMutation {
            project: self.name.clone(),
            commits: vec![commit],
            ..Default::default()
        };
        world.put(
            kind,
            Mutation {
                gerrit: Some(gerrit),
                ..Default::default()
            },
        )
    }

    fn publish(&mut self, world: &mut World) -> Result<()> {
        let refs = std::mem::take(&mut self.refs);
        world.out.count("ref entries", refs.len() as u64);
        for batch in refs.chunks(REFS) {
            let gerrit = GerritMutation {
                project: self.name.clone(),
                refs: batch.to_vec(),
                ..Default::default()
            };
            world.put(
                "ref batches",
                Mutation {
                    gerrit: Some(gerrit),
                    ..Default::default()
                },
            )?;
        }
        if !refs.is_empty() && self.rng.chance(500) {
            let deleted_refs = vec![format!("refs/heads/dev.{}", self.rng.below(100))];
            let gerrit = GerritMutation {
                project: self.name.clone(),
                deleted_refs,
                ..Default::default()
            };
            world.put(
                "deleted refs",
                Mutation {
                    gerrit: Some(gerrit),
                    ..Default::default()
                },
            )?;
        }
        for commit in std::mem::take(&mut self.late) {
            self.put_commit(world, "late commits", commit)?;
        }
        Ok(())
    }
}
