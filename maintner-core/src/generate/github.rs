//! The life of issues and pull requests, as GitHub's mutations.
//!
//! Sizes and frequencies of texts, comments and events are modelled, not
//! measured.

use super::World;
use super::rng::{Quantiles, Rng, Stream};
use crate::Result;
use crate::pb::{
    BoolChange, GithubCommit, GithubIssueCommentMutation, GithubIssueEvent, GithubIssueMutation,
    GithubIssueSyncStatus, GithubLabel, GithubMilestone, GithubMutation, GithubReview, Mutation,
    StringChange, Timestamp,
};

const LABELS: i64 = 350;
const MILESTONES: i64 = 220;
const ISSUE_BODY: &Quantiles = &[
    (0, 20),
    (100, 200),
    (250, 400),
    (500, 800),
    (750, 1_600),
    (900, 3_200),
    (990, 9_000),
    (1000, 65_536),
];
const COMMENT_BODY: &Quantiles = &[
    (0, 5),
    (100, 60),
    (250, 120),
    (500, 250),
    (750, 560),
    (900, 1_300),
    (990, 6_000),
    (1000, 30_000),
];
const REVIEW_STATES: [&str; 4] = ["COMMENTED", "APPROVED", "CHANGES_REQUESTED", "DISMISSED"];
/// Event types that carry nothing but their name.
const PLAIN_EVENTS: [&str; 5] = [
    "mentioned",
    "subscribed",
    "mentioned",
    "subscribed",
    "locked",
];

/// All repositories.
pub(super) struct GitHub {
    repos: Vec<Repo>,
}

struct Repo {
    owner: String,
    name: String,
    next_number: i32,
}

/// An issue and what is still to happen to it.
pub(super) struct Issue {
    rng: Rng,
    index: u64,
    repo: usize,
    number: i32,
    pull: bool,
    rounds_left: u64,
    comments_left: u64,
    next_id: i64,
    closed: bool,
    labels: Vec<i64>,
    assignees: Vec<i64>,
    comments: Vec<i64>,
}

impl GitHub {
    /// The repositories, with labels and milestones logged.
    pub(super) fn new(world: &mut World, count: u64) -> Result<Self> {
        let mut repos = Vec::new();
        for index in 0..count {
            let mut rng = Rng::new(world.seed, Stream::Repo, index);
            let name = match index {
                0 => "go".to_owned(),
                1 => "build".to_owned(),
                _ => format!("{}-{index}", world.vocabulary.word(rng.index(4_000))),
            };
            let repo = Repo {
                owner: "golang".to_owned(),
                name,
                next_number: 1,
            };
            world.put("labels", github(&repo, world, &mut rng, index))?;
            repos.push(repo);
        }
        Ok(Self { repos })
    }

    /// Issue number `index` appears; `None` when it has no life of its own.
    pub(super) fn begin(
        &mut self,
        world: &mut World,
        index: u64,
        time: u64,
    ) -> Result<Option<Box<Issue>>> {
        let mut rng = Rng::new(world.seed_now(), Stream::Issue, index);
        let others = self.repos.len() as u64 - 1;
        let repo = if others == 0 || rng.chance(830_000) {
            0
        } else {
            1 + rng.skewed(others)
        };
        let repo = usize::try_from(repo).expect("below the number of repositories");
        let number = self.repos[repo].next_number;
        self.repos[repo].next_number += 1;
        let comments_left = match rng.below(100) {
            0..=79 => rng.geometric(4, 60),
            80..=97 => rng.geometric(12, 200),
            _ => rng.geometric(45, 1_500),
        };
        let mut issue = Issue {
            index,
            repo,
            number,
            pull: rng.chance(120_000),
            rounds_left: comments_left + rng.geometric(8, 200),
            comments_left,
            next_id: 1,
            closed: false,
            labels: Vec::new(),
            assignees: Vec::new(),
            comments: Vec::new(),
            rng,
        };
        if issue.rng.chance(8_000) {
            let dead = GithubIssueMutation {
                not_exist: true,
                ..self.blank(&issue)
            };
            world.put("tombstones", of_issue(dead))?;
            if !issue.rng.chance(100_000) {
                return Ok(None);
            }
        }
        let created = self.creation(world, &mut issue, time);
        world.put("issues", of_issue(created))?;
        Ok(Some(Box::new(issue)))
    }

    /// Something happens to an issue; returns the delay until the next time.
    pub(super) fn go_on(
        &self,
        world: &mut World,
        issue: &mut Issue,
        time: u64,
    ) -> Result<Option<u64>> {
        if issue.rounds_left == 0 {
            return Ok(None);
        }
        issue.rounds_left -= 1;
        let mut events = Vec::new();
        let diff = self.diff(world, issue, time, &mut events);
        world.put("issue updates", of_issue(diff))?;
        let comments = self.comments(world, issue, time);
        world.put("comment syncs", of_issue(comments))?;
        let synced = GithubIssueMutation {
            event: events,
            event_status: status(time + 2),
            ..self.blank(issue)
        };
        world.out.count("events", synced.event.len() as u64);
        world.put("event syncs", of_issue(synced))?;
        if issue.pull && issue.rng.chance(160_000) {
            let reviews = self.reviews(world, issue, time);
            world.put("review syncs", of_issue(reviews))?;
        }
        Ok(Some(600 + issue.rng.skewed(8_000_000)))
    }

    fn blank(&self, issue: &Issue) -> GithubIssueMutation {
        let repo = &self.repos[issue.repo];
        GithubIssueMutation {
            owner: repo.owner.clone(),
            repo: repo.name.clone(),
            number: issue.number,
            pull_request: false,
            ..Default::default()
        }
    }

    fn creation(&self, world: &World, issue: &mut Issue, time: u64) -> GithubIssueMutation {
        let rng = &mut issue.rng;
        let mut body = String::new();
        let bytes = rng.quantile(ISSUE_BODY) as usize;
        world.vocabulary.prose(rng, &mut body, bytes);
        let title_bytes = 20 + rng.index(60);
        GithubIssueMutation {
            user: Some(world.people.user(rng)),
            created: stamp(time),
            updated: stamp(time),
            title: world.vocabulary.line(rng, title_bytes),
            no_milestone: true,
            closed: Some(BoolChange { val: false }),
            pull_request: issue.pull,
            body_change: Some(StringChange { val: body }),
            ..self.blank(issue)
        }
    }

    fn diff(
        &self,
        world: &World,
        issue: &mut Issue,
        time: u64,
        events: &mut Vec<GithubIssueEvent>,
    ) -> GithubIssueMutation {
        let mut diff = GithubIssueMutation {
            updated: stamp(time),
            pull_request: issue.pull,
            ..self.blank(issue)
        };
        for _ in 0..2 {
            change(world, issue, time, &mut diff, events);
        }
        let last = issue.rounds_left == 0;
        if !issue.closed && (last && issue.rng.chance(850_000) || issue.rng.chance(20_000)) {
            issue.closed = true;
            diff.closed = Some(BoolChange { val: true });
            diff.closed_at = stamp(time);
            let mut event = issue.event(world, "closed", time);
            event.commit = issue.rng.chance(600_000).then(|| commit_of(&mut issue.rng));
            events.push(event);
        } else if issue.closed && issue.rng.chance(100_000) {
            issue.closed = false;
            diff.closed = Some(BoolChange { val: false });
            events.push(issue.event(world, "reopened", time));
        }
        diff
    }

    fn comments(&self, world: &mut World, issue: &mut Issue, time: u64) -> GithubIssueMutation {
        let mut mutation = GithubIssueMutation {
            comment_status: status(time + 1),
            ..self.blank(issue)
        };
        let ahead = issue.rounds_left + 1;
        let fresh = issue.comments_left / ahead
            + u64::from(issue.rng.below(ahead) < issue.comments_left % ahead);
        issue.comments_left -= fresh;
        for _ in 0..fresh {
            let id = issue.id();
            issue.comments.push(id);
            mutation.comment.push(GithubIssueCommentMutation {
                id,
                user: Some(world.people.user(&mut issue.rng)),
                body: comment_body(world, &mut issue.rng),
                created: stamp(time),
                updated: stamp(time),
            });
        }
        if !issue.comments.is_empty() && issue.rng.chance(25_000) {
            let id = issue.rng.pick(&issue.comments);
            let body = comment_body(world, &mut issue.rng);
            mutation.comment.push(GithubIssueCommentMutation {
                id,
                body,
                updated: stamp(time),
                ..Default::default()
            });
        }
        world.out.count("comments", mutation.comment.len() as u64);
        mutation
    }

    fn reviews(&self, world: &mut World, issue: &mut Issue, time: u64) -> GithubIssueMutation {
        let count = 1 + issue.rng.below(2);
        let review = (0..count)
            .map(|_| GithubReview {
                id: issue.id(),
                actor_id: world.people.user_id(&mut issue.rng),
                created: stamp(time),
                body: comment_body(world, &mut issue.rng),
                state: issue.rng.pick(&REVIEW_STATES).to_owned(),
                commit_id: issue.rng.hash(),
                actor_association: "CONTRIBUTOR".to_owned(),
                other_json: Vec::new(),
            })
            .collect();
        world.out.count("reviews", count);
        GithubIssueMutation {
            review,
            review_status: status(time + 3),
            ..self.blank(issue)
        }
    }
}

impl Issue {
    fn id(&mut self) -> i64 {
        let id = self.index.cast_signed() * 10_000 + self.next_id;
        self.next_id += 1;
        id
    }

    fn event(&mut self, world: &World, event_type: &str, time: u64) -> GithubIssueEvent {
        GithubIssueEvent {
            id: self.id(),
            event_type: event_type.to_owned(),
            actor_id: if self.rng.chance(5_000) {
                0
            } else {
                world.people.user_id(&mut self.rng)
            },
            created: stamp(time),
            ..Default::default()
        }
    }
}

/// One change of one aspect of an issue, with the event that GitHub makes of it.
fn change(
    world: &World,
    issue: &mut Issue,
    time: u64,
    diff: &mut GithubIssueMutation,
    events: &mut Vec<GithubIssueEvent>,
) {
    match issue.rng.below(100) {
        0..=17 => {
            let id = 1 + issue.rng.skewed(LABELS.cast_unsigned()).cast_signed();
            let name = label_name(world, id);
            let present = issue.labels.contains(&id);
            if present {
                issue.labels.retain(|label| *label != id);
                diff.remove_label.push(id);
            } else {
                issue.labels.push(id);
                diff.add_label.push(GithubLabel {
                    id,
                    name: name.clone(),
                });
            }
            let mut event = issue.event(world, if present { "unlabeled" } else { "labeled" }, time);
            event.label = Some(GithubLabel { id: 0, name });
            events.push(event);
        }
        18..=23 => {
            let clear = issue.rng.chance(150_000);
            let id = 1 + issue.rng.below(MILESTONES.cast_unsigned()).cast_signed();
            let title = format!("Go1.{id}");
            diff.no_milestone = clear;
            if !clear {
                (diff.milestone_id, diff.milestone_num, diff.milestone_title) =
                    (id, id, title.clone());
            }
            let mut event = issue.event(
                world,
                if clear { "demilestoned" } else { "milestoned" },
                time,
            );
            event.milestone = Some(GithubMilestone {
                title,
                ..Default::default()
            });
            events.push(event);
        }
        24..=26 => assign(world, issue, time, diff, events),
        27..=28 => {
            let mut event = issue.event(world, "renamed", time);
            event.rename_to = world.vocabulary.line(&mut issue.rng, 30);
            event.rename_from = world.vocabulary.line(&mut issue.rng, 30);
            diff.title.clone_from(&event.rename_to);
            events.push(event);
        }
        29..=30 => {
            let mut body = String::new();
            let bytes = if issue.rng.chance(50_000) {
                0
            } else {
                issue.rng.quantile(COMMENT_BODY) as usize
            };
            world.vocabulary.prose(&mut issue.rng, &mut body, bytes);
            diff.body_change = Some(StringChange { val: body });
        }
        31 => {
            diff.locked = Some(BoolChange {
                val: issue.rng.chance(800_000),
            });
        }
        32..=40 => {
            let mut event = issue.event(world, "referenced", time);
            event.commit = Some(commit_of(&mut issue.rng));
            events.push(event);
        }
        41 if issue.pull => {
            let mut event = issue.event(world, "review_requested", time);
            event.reviewer_id = world.people.user_id(&mut issue.rng);
            event.review_requester_id = event.actor_id;
            events.push(event);
        }
        42 => {
            let mut event = issue.event(world, "unknown_to_us", time);
            event.other_json = br#"{"answer":42}"#.to_vec();
            events.push(event);
        }
        43..=70 => {
            let event_type = issue.rng.pick(&PLAIN_EVENTS);
            events.push(issue.event(world, event_type, time));
        }
        _ => {}
    }
}

fn assign(
    world: &World,
    issue: &mut Issue,
    time: u64,
    diff: &mut GithubIssueMutation,
    events: &mut Vec<GithubIssueEvent>,
) {
    let (id, event_type) = match issue.assignees.pop() {
        // The Go corpus does not survive two deletions at once in the wrong order.
        Some(id) if diff.deleted_assignees.is_empty() && issue.rng.chance(500_000) => {
            diff.deleted_assignees.push(id);
            (id, "unassigned")
        }
        kept => {
            issue.assignees.extend(kept);
            let user = world.people.user(&mut issue.rng);
            let id = user.id;
            if !issue.assignees.contains(&id) {
                issue.assignees.push(id);
            }
            diff.assignees.push(user);
            (id, "assigned")
        }
    };
    let mut event = issue.event(world, event_type, time);
    event.assignee_id = id;
    event.assigner_id = event.actor_id;
    events.push(event);
}

fn github(repo: &Repo, world: &World, rng: &mut Rng, index: u64) -> Mutation {
    let labels = (1..=LABELS)
        .map(|id| GithubLabel {
            id,
            name: label_name(world, id),
        })
        .collect();
    let milestones = (1..=MILESTONES)
        .map(|id| GithubMilestone {
            id,
            title: format!("Go1.{id}"),
            closed: rng.chance(700_000).then_some(BoolChange { val: true }),
            number: id,
        })
        .collect();
    // Label and milestone ids are GitHub's own; the same numbers in several
    // repositories keep them apart.
    let few = index > 1;
    let github = GithubMutation {
        owner: repo.owner.clone(),
        repo: repo.name.clone(),
        labels: if few { Vec::new() } else { labels },
        milestones: if few { Vec::new() } else { milestones },
    };
    Mutation {
        github: Some(github),
        ..Default::default()
    }
}

fn label_name(world: &World, id: i64) -> String {
    let index = usize::try_from(id).expect("label ids are small");
    format!("{}-{id}", world.vocabulary.word(index))
}

fn comment_body(world: &World, rng: &mut Rng) -> String {
    let mut body = String::new();
    let bytes = rng.quantile(COMMENT_BODY) as usize;
    world.vocabulary.prose(rng, &mut body, bytes);
    body
}

fn commit_of(rng: &mut Rng) -> GithubCommit {
    GithubCommit {
        owner: "golang".to_owned(),
        repo: "go".to_owned(),
        commit_id: rng.hash(),
    }
}

fn stamp(time: u64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: time.cast_signed(),
        nanos: 0,
    })
}

fn status(time: u64) -> Option<GithubIssueSyncStatus> {
    Some(GithubIssueSyncStatus {
        server_date: stamp(time),
    })
}

fn of_issue(issue: GithubIssueMutation) -> Mutation {
    Mutation {
        github_issue: Some(issue),
        ..Default::default()
    }
}
