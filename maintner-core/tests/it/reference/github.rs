//! Issues and what belongs to them.

use std::collections::{BTreeMap, BTreeSet};

use maintner_core::dump::{
    CommentLine, DismissedLine, Dump, EventLine, IssueLine, Line, MilestoneRef, ReviewLine,
    text_hash,
};
use maintner_core::pb::{
    BoolChange, GithubIssueCommentMutation, GithubIssueEvent, GithubIssueMutation, GithubMutation,
    GithubReview, Timestamp,
};

use super::Reference;

#[derive(Default)]
pub(super) struct Repo {
    labels: BTreeMap<i64, String>,
    milestones: BTreeMap<i64, Milestone>,
    issues: BTreeMap<i32, Issue>,
}

#[derive(Default)]
struct Milestone {
    title: String,
    number: i64,
    closed: bool,
}

struct Issue {
    id: i64,
    not_exist: bool,
    closed: bool,
    locked: bool,
    pull_request: bool,
    user: Option<i64>,
    closed_by: Option<i64>,
    assignees: Vec<i64>,
    created: Option<i64>,
    updated: Option<i64>,
    closed_at: Option<i64>,
    title: String,
    body: String,
    milestone: MilestoneRef,
    labels: BTreeSet<i64>,
    comments: BTreeMap<i64, Comment>,
    events: BTreeMap<i64, GithubIssueEvent>,
    reviews: BTreeMap<i64, GithubReview>,
}

#[derive(Default)]
struct Comment {
    user: Option<i64>,
    body: String,
    created: Option<i64>,
    updated: Option<i64>,
}

impl Reference {
    pub(super) fn apply_github(&mut self, mutation: GithubMutation) {
        if mutation.owner.is_empty() || mutation.repo.is_empty() {
            return self.skip();
        }
        let repo = self
            .repos
            .entry((mutation.owner, mutation.repo))
            .or_default();
        let mut skipped = 0;
        for label in mutation.labels {
            match label.id {
                0 => skipped += 1,
                id => repo.name_label(id, label.name),
            }
        }
        for milestone in mutation.milestones {
            match milestone.id {
                0 => skipped += 1,
                id => {
                    repo.change_milestone(id, milestone.title, milestone.number, milestone.closed);
                }
            }
        }
        self.skipped += skipped;
    }

    pub(super) fn apply_issue(&mut self, mutation: GithubIssueMutation) {
        if mutation.owner.is_empty() || mutation.repo.is_empty() || mutation.number <= 0 {
            return self.skip();
        }
        let key = (mutation.owner.clone(), mutation.repo.clone());
        let known = self
            .repos
            .get(&key)
            .is_some_and(|r| r.issues.contains_key(&mutation.number));
        if !known && mutation.created.is_none() && !mutation.not_exist {
            return self.skip();
        }
        let mut repo = self.repos.remove(&key).unwrap_or_default();
        let mut issue = repo
            .issues
            .remove(&mutation.number)
            .unwrap_or_else(Issue::new);
        let number = mutation.number;
        self.change_issue(&mut repo, &mut issue, mutation);
        repo.issues.insert(number, issue);
        self.repos.insert(key, repo);
    }

    fn change_issue(&mut self, repo: &mut Repo, issue: &mut Issue, m: GithubIssueMutation) {
        set_time(&mut issue.created, m.created);
        issue.not_exist = m.not_exist;
        if issue.not_exist {
            return;
        }
        if m.id != 0 {
            issue.id = m.id;
        }
        set_time(&mut issue.updated, m.updated);
        set_time(&mut issue.closed_at, m.closed_at);
        if let Some(user) = self.user(m.user) {
            issue.user = Some(user);
        }
        if m.no_milestone {
            issue.milestone = MilestoneRef::NONE;
        } else if m.milestone_id != 0 {
            issue.milestone = MilestoneRef::Id(m.milestone_id);
            repo.change_milestone(m.milestone_id, m.milestone_title, m.milestone_num, None);
        }
        if let Some(user) = self.user(m.closed_by) {
            issue.closed_by = Some(user);
        }
        set_flag(&mut issue.closed, m.closed.as_ref());
        set_flag(&mut issue.locked, m.locked.as_ref());
        issue.pull_request |= m.pull_request;
        for user in m.assignees {
            if let Some(id) = self.user(Some(user))
                && !issue.assignees.contains(&id)
            {
                issue.assignees.push(id);
            }
        }
        issue
            .assignees
            .retain(|id| !m.deleted_assignees.contains(id));
        set_text(&mut issue.body, m.body);
        if let Some(change) = m.body_change {
            issue.body = change.val;
        }
        set_text(&mut issue.title, m.title);
        issue.labels.retain(|id| !m.remove_label.contains(id));
        for label in m.add_label {
            if label.id == 0 {
                self.skip();
                continue;
            }
            repo.name_label(label.id, label.name);
            issue.labels.insert(label.id);
        }
        for comment in m.comment {
            self.change_comment(issue, comment);
        }
        for id in m.deleted_comment {
            issue.comments.remove(&id);
        }
        for event in m.event {
            match event.id {
                0 => self.skip(),
                id => drop(issue.events.insert(id, event)),
            }
        }
        for review in m.review {
            match review.id {
                0 => self.skip(),
                id => drop(issue.reviews.insert(id, review)),
            }
        }
    }

    fn change_comment(&mut self, issue: &mut Issue, m: GithubIssueCommentMutation) {
        if m.id == 0 {
            return self.skip();
        }
        let user = self.user(m.user);
        let comment = issue.comments.entry(m.id).or_default();
        comment.user = user.or(comment.user);
        set_time(&mut comment.created, m.created);
        set_time(&mut comment.updated, m.updated);
        set_text(&mut comment.body, m.body);
    }
}

impl Repo {
    fn name_label(&mut self, id: i64, name: String) {
        set_text(self.labels.entry(id).or_default(), name);
    }

    fn change_milestone(
        &mut self,
        id: i64,
        title: String,
        number: i64,
        closed: Option<BoolChange>,
    ) {
        let milestone = self.milestones.entry(id).or_default();
        set_text(&mut milestone.title, title);
        if number != 0 {
            milestone.number = number;
        }
        set_flag(&mut milestone.closed, closed.as_ref());
    }

    pub(super) fn dump(&self, dump: &mut Dump, owner: &str, name: &str) {
        if self.labels.is_empty() && self.milestones.is_empty() && self.issues.is_empty() {
            return;
        }
        let repo = &format!("{owner}/{name}");
        dump.push(&Line::Ghrepo { owner, repo: name });
        for (id, name) in &self.labels {
            dump.push(&Line::Label {
                id: *id,
                name,
                repo,
            });
        }
        for (id, m) in &self.milestones {
            dump.push(&Line::Milestone {
                closed: m.closed,
                id: *id,
                number: m.number,
                repo,
                title: &m.title,
            });
        }
        for (number, issue) in &self.issues {
            issue.dump(dump, repo, *number);
        }
    }
}

impl Issue {
    fn new() -> Self {
        Self {
            id: 0,
            not_exist: false,
            closed: false,
            locked: false,
            pull_request: false,
            user: None,
            closed_by: None,
            assignees: Vec::new(),
            created: None,
            updated: None,
            closed_at: None,
            title: String::new(),
            body: String::new(),
            milestone: MilestoneRef::UNKNOWN,
            labels: BTreeSet::new(),
            comments: BTreeMap::new(),
            events: BTreeMap::new(),
            reviews: BTreeMap::new(),
        }
    }

    fn dump(&self, dump: &mut Dump, repo: &str, number: i32) {
        if self.not_exist {
            return dump.push(&Line::Tombstone { number, repo });
        }
        dump.push(&Line::Issue(IssueLine {
            assignees: self.assignees.clone(),
            body_sha256: text_hash(self.body.as_bytes()),
            closed: self.closed,
            closed_at: self.closed_at,
            closed_by: self.closed_by,
            created: self.created,
            id: self.id,
            labels: self.labels.iter().copied().collect(),
            locked: self.locked,
            milestone: self.milestone,
            number,
            pull_request: self.pull_request,
            repo,
            title: &self.title,
            updated: self.updated,
            user: self.user,
        }));
        for (id, comment) in &self.comments {
            dump.push(&Line::Comment(CommentLine {
                body_sha256: text_hash(comment.body.as_bytes()),
                created: comment.created,
                id: *id,
                number,
                repo,
                updated: comment.updated,
                user: comment.user,
            }));
        }
        for event in self.events.values() {
            dump.push(&event_line(event, repo, number));
        }
        for review in self.reviews.values() {
            dump.push(&review_line(review, repo, number));
        }
    }
}

fn event_line<'a>(event: &'a GithubIssueEvent, repo: &'a str, number: i32) -> Line<'a> {
    let commit = event.commit.as_ref();
    let commit_repo = commit.filter(|c| !c.owner.is_empty() || !c.repo.is_empty());
    Line::Event(EventLine {
        actor: named(event.actor_id),
        assignee: named(event.assignee_id),
        assigner: named(event.assigner_id),
        commit_id: commit.map_or("", |c| &c.commit_id),
        commit_repo: commit_repo
            .map(|c| format!("{}/{}", c.owner, c.repo))
            .unwrap_or_default(),
        created: event.created.as_ref().map(|t| t.seconds),
        dismissed: event.dismissed_review.as_ref().map(|d| DismissedLine {
            message: &d.dismissal_message,
            review_id: d.review_id,
            state: &d.state,
        }),
        from: &event.rename_from,
        id: event.id,
        label: event.label.as_ref().map_or("", |l| &l.name),
        milestone: event.milestone.as_ref().map_or("", |m| &m.title),
        number,
        repo,
        requester: named(event.review_requester_id),
        reviewer: named(event.reviewer_id),
        team: event.team_reviewer.as_ref().and_then(|t| named(t.id)),
        to: &event.rename_to,
        event_type: &event.event_type,
    })
}

fn review_line<'a>(review: &'a GithubReview, repo: &'a str, number: i32) -> Line<'a> {
    Line::Review(ReviewLine {
        actor: named(review.actor_id),
        association: &review.actor_association,
        body_sha256: text_hash(review.body.as_bytes()),
        commit_id: &review.commit_id,
        created: review.created.as_ref().map(|t| t.seconds),
        id: review.id,
        number,
        repo,
        state: &review.state,
    })
}

fn named(id: i64) -> Option<i64> {
    (id != 0).then_some(id)
}

fn set_time(slot: &mut Option<i64>, time: Option<Timestamp>) {
    if let Some(time) = time {
        *slot = Some(time.seconds);
    }
}

fn set_flag(slot: &mut bool, change: Option<&BoolChange>) {
    if let Some(change) = change {
        *slot = change.val;
    }
}

fn set_text(slot: &mut String, text: String) {
    if !text.is_empty() {
        *slot = text;
    }
}
