//! What the log lacks of something that GitHub has.
//!
//! The rules that shape the bytes are those of the Go program: `docs/protocol/reclog.md`.

use std::collections::HashMap;

use super::json::Members;
use super::json::rest;
use super::model::{
    CODE_COMMENT_MEMBERS, CodeComment, Comment, EVENT_MEMBERS, Event, Issue, Label, Milestone,
    REVIEW_MEMBERS, Review, User,
};
use crate::pb::{
    BoolChange, GithubCommit, GithubDismissedReviewEvent, GithubIssueCommentMutation,
    GithubIssueEvent, GithubIssueMutation, GithubIssueSyncStatus, GithubLabel, GithubMilestone,
    GithubMutation, GithubReview, GithubTeam, GithubUser, Mutation, StringChange, Timestamp,
};
use crate::query::{self, IssueMilestone, UnixTime};

pub(super) fn timestamp(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn seconds(time: Option<UnixTime>) -> Option<i64> {
    time.map(UnixTime::seconds)
}

pub(super) fn status(date: i64) -> Option<GithubIssueSyncStatus> {
    Some(GithubIssueSyncStatus {
        server_date: timestamp(date),
    })
}

/// The repository that mutations are about, under the name that the corpus knows.
#[derive(Debug, Clone)]
pub(super) struct Repo {
    pub(super) owner: String,
    pub(super) name: String,
}

impl Repo {
    pub(super) fn issue(&self, number: i32) -> GithubIssueMutation {
        GithubIssueMutation {
            owner: self.owner.clone(),
            repo: self.name.clone(),
            number,
            ..GithubIssueMutation::default()
        }
    }

    pub(super) fn tombstone(&self, number: i32) -> Mutation {
        of_issue(GithubIssueMutation {
            not_exist: true,
            ..self.issue(number)
        })
    }

    /// New or renamed labels; nothing when there are none.
    pub(super) fn labels(
        &self,
        known: Option<query::Repo<'_>>,
        labels: &[Label],
    ) -> Option<Mutation> {
        let names: HashMap<i64, &str> = known
            .into_iter()
            .flat_map(|repo| repo.labels())
            .map(|label| (label.id(), label.name()))
            .collect();
        let fresh = labels
            .iter()
            .filter(|label| label.id != 0 && names.get(&label.id) != Some(&&*label.name));
        let labels: Vec<GithubLabel> = fresh.map(label).collect();
        (!labels.is_empty()).then(|| self.of_repo(labels, Vec::new()))
    }

    /// New or changed milestones; nothing when there are none.
    pub(super) fn milestones(
        &self,
        known: Option<query::Repo<'_>>,
        milestones: &[Milestone],
    ) -> Option<Mutation> {
        let known: HashMap<i64, query::Milestone<'_>> = known
            .into_iter()
            .flat_map(|repo| repo.milestones())
            .map(|milestone| (milestone.id(), milestone))
            .collect();
        let change = |found: &Milestone| {
            let (id, closed) = (found.id, found.state == "closed");
            let mut change = GithubMilestone {
                id,
                ..GithubMilestone::default()
            };
            let before = known.get(&id);
            if before.is_none_or(|before| before.number() != found.number) {
                change.number = found.number;
            }
            if before.is_none_or(|before| before.title() != found.title) {
                change.title.clone_from(&found.title);
            }
            if before.map_or(closed, |before| before.is_closed() != closed) {
                change.closed = Some(BoolChange { val: closed });
            }
            let new = before.is_none() || change.number != 0 || !change.title.is_empty();
            (id != 0 && (new || change.closed.is_some())).then_some(change)
        };
        let milestones: Vec<GithubMilestone> = milestones.iter().filter_map(change).collect();
        (!milestones.is_empty()).then(|| self.of_repo(Vec::new(), milestones))
    }

    fn of_repo(&self, labels: Vec<GithubLabel>, milestones: Vec<GithubMilestone>) -> Mutation {
        Mutation {
            github: Some(GithubMutation {
                owner: self.owner.clone(),
                repo: self.name.clone(),
                labels,
                milestones,
            }),
            ..Mutation::default()
        }
    }

    /// What changed in an issue; nothing when nothing did.
    pub(super) fn change(
        &self,
        known: Option<query::Issue<'_>>,
        found: &Issue,
    ) -> Option<GithubIssueMutation> {
        let known = known.filter(|known| known.created().is_some());
        let mut change = self.issue(found.number);
        let untouched = change.clone();
        fields(&mut change, known, found);
        people(&mut change, known, found);
        labels(&mut change, known, found);
        // A tombstone that is there again is revived by any mutation.
        let revived = known.is_some_and(|known| !known.exists());
        if change == untouched && !revived {
            return None;
        }
        change.pull_request = found.pull_request.is_some();
        Some(change)
    }

    /// A comment on code, as an event: the log has no other place for it. Its id is negative, so
    /// that it is nobody else's.
    pub(super) fn code_comment(&self, found: &CodeComment, members: &Members) -> GithubIssueEvent {
        let dropped: Vec<&str> = members
            .keys()
            .map(String::as_str)
            .filter(|key| !CODE_COMMENT_MEMBERS.contains(key))
            .collect();
        GithubIssueEvent {
            id: -found.id,
            event_type: "line-commented".into(),
            actor_id: found.user.as_ref().map_or(0, |user| user.id),
            created: timestamp(found.created_at),
            other_json: rest(members, &dropped),
            ..GithubIssueEvent::default()
        }
    }
}

pub(super) fn of_issue(issue: GithubIssueMutation) -> Mutation {
    Mutation {
        github_issue: Some(issue),
        ..Mutation::default()
    }
}

fn label(found: &Label) -> GithubLabel {
    GithubLabel {
        id: found.id,
        name: found.name.clone(),
    }
}

fn user(found: &User) -> GithubUser {
    GithubUser {
        id: found.id,
        login: found.login.clone(),
    }
}

fn changed_user(known: Option<query::User<'_>>, found: Option<&User>) -> Option<GithubUser> {
    let found = found?;
    let same = |known: query::User<'_>| known.id() == found.id && known.login() == found.login;
    (found.id != 0 && !known.is_some_and(same)).then(|| user(found))
}

fn fields(change: &mut GithubIssueMutation, known: Option<query::Issue<'_>>, found: &Issue) {
    if known.is_none() {
        change.created = timestamp(found.created_at);
    }
    if known.and_then(|known| seconds(known.updated())) != Some(found.updated_at) {
        change.updated = timestamp(found.updated_at);
    }
    let body = found.body.as_deref().unwrap_or_default();
    if known.is_none_or(|known| known.body() != body) {
        change.body_change = Some(StringChange { val: body.into() });
    }
    if known.is_none_or(|known| known.title() != found.title) {
        change.title.clone_from(&found.title);
    }
    match (&found.milestone, known.map(|known| known.milestone())) {
        (None, Some(IssueMilestone::None)) => {}
        (None, _) => change.no_milestone = true,
        (Some(new), Some(IssueMilestone::Some(old)))
            if old.id() == new.id && old.title() == new.title && old.number() == new.number => {}
        (Some(new), _) => {
            change.milestone_id = new.id;
            change.milestone_num = new.number;
            change.milestone_title.clone_from(&new.title);
        }
    }
    let closed = found.state == "closed";
    if known.is_none_or(|known| known.is_closed() != closed) {
        change.closed = Some(BoolChange { val: closed });
    }
    if known.map_or(found.locked, |known| known.is_locked() != found.locked) {
        change.locked = Some(BoolChange { val: found.locked });
    }
    let closed_at = known.and_then(|known| seconds(known.closed_at()));
    if let Some(at) = found.closed_at.filter(|&at| closed_at != Some(at)) {
        change.closed_at = timestamp(at);
    }
}

fn people(change: &mut GithubIssueMutation, known: Option<query::Issue<'_>>, found: &Issue) {
    let author = known.and_then(|known| known.author());
    change.user = changed_user(author, found.user.as_ref());
    let closed_by = known.and_then(|known| known.closed_by());
    change.closed_by = changed_user(closed_by, found.closed_by.as_ref());
    let before: Vec<query::User<'_>> = known.into_iter().flat_map(|k| k.assignees()).collect();
    for new in &found.assignees {
        let old = before.iter().find(|old| old.id() == new.id);
        change
            .assignees
            .extend(changed_user(old.copied(), Some(new)));
    }
    for old in before {
        if !found.assignees.iter().any(|new| new.id == old.id()) {
            change.deleted_assignees.push(old.id());
        }
    }
}

fn labels(change: &mut GithubIssueMutation, known: Option<query::Issue<'_>>, found: &Issue) {
    let before: Vec<query::Label<'_>> = known.into_iter().flat_map(|k| k.labels()).collect();
    for old in &before {
        if !found.labels.iter().any(|new| new.id == old.id()) {
            change.remove_label.push(old.id());
        }
    }
    for new in found.labels.iter().filter(|new| new.id != 0) {
        let same = |old: &query::Label<'_>| old.id() == new.id && old.name() == new.name;
        if !before.iter().any(same) {
            change.add_label.push(label(new));
        }
    }
}

/// What changed in a comment; nothing when nothing did. GitHub has no empty comments, and the log
/// could not say that one became empty.
pub(super) fn comment(
    known: Option<query::Comment<'_>>,
    found: &Comment,
) -> Option<GithubIssueCommentMutation> {
    let body = found.body.as_deref().unwrap_or_default();
    let mut change = GithubIssueCommentMutation {
        id: found.id,
        ..GithubIssueCommentMutation::default()
    };
    let Some(known) = known else {
        change.user = found.user.as_ref().map(user);
        change.body = body.to_owned();
        change.created = timestamp(found.created_at);
        change.updated = timestamp(found.updated_at);
        return (found.id != 0).then_some(change);
    };
    if seconds(known.updated()) != Some(found.updated_at) {
        change.updated = timestamp(found.updated_at);
    }
    if known.body() != body {
        body.clone_into(&mut change.body);
    }
    (change.updated.is_some() || !change.body.is_empty()).then_some(change)
}

/// An event as the log has it.
pub(super) fn event(found: &Event) -> GithubIssueEvent {
    let fields = &found.fields;
    let id = |user: &Option<User>| user.as_ref().map_or(0, |user| user.id);
    let label = fields.label.as_ref().map(|label| GithubLabel {
        id: 0,
        name: label.name.clone(),
    });
    let milestone = fields.milestone.as_ref().map(|milestone| GithubMilestone {
        title: milestone.name.clone(),
        ..GithubMilestone::default()
    });
    let dismissed = fields.dismissed_review.as_ref();
    let dismissed_review = dismissed.map(|review| GithubDismissedReviewEvent {
        review_id: review.review_id,
        dismissal_message: review.dismissal_message.clone().unwrap_or_default(),
        state: review.state.clone(),
    });
    let rename = fields.rename.as_ref();
    GithubIssueEvent {
        id: fields.id,
        event_type: fields.event.clone(),
        actor_id: id(&fields.actor),
        created: timestamp(fields.created_at),
        label,
        milestone,
        assignee_id: id(&fields.assignee),
        assigner_id: id(&fields.assigner),
        commit: commit(fields.commit_id.as_deref(), fields.commit_url.as_deref()),
        other_json: rest(&found.members, EVENT_MEMBERS),
        rename_from: rename.map_or_else(String::new, |rename| rename.from.clone()),
        rename_to: rename.map_or_else(String::new, |rename| rename.to.clone()),
        reviewer_id: id(&fields.requested_reviewer),
        review_requester_id: id(&fields.review_requester),
        dismissed_review,
        team_reviewer: fields.requested_team.as_ref().map(|team| GithubTeam {
            id: team.id,
            slug: team.slug.clone(),
        }),
    }
}

fn commit(id: Option<&str>, url: Option<&str>) -> Option<GithubCommit> {
    let commit_id = id.filter(|id| !id.is_empty())?.to_owned();
    let path = url.and_then(|url| url.strip_prefix("https://api.github.com/repos/"));
    let mut parts = path.unwrap_or_default().split('/');
    let (owner, repo) = match (parts.next(), parts.next(), parts.next()) {
        (Some(owner), Some(repo), Some("commits")) => (owner, repo),
        _ => ("", ""),
    };
    Some(GithubCommit {
        owner: owner.to_owned(),
        repo: repo.to_owned(),
        commit_id,
    })
}

/// A review as the log has it.
pub(super) fn review(found: &Review) -> GithubReview {
    let fields = &found.fields;
    GithubReview {
        id: fields.id,
        actor_id: fields.user.as_ref().map_or(0, |user| user.id),
        created: fields.submitted_at.and_then(timestamp),
        body: fields.body.clone().unwrap_or_default(),
        state: fields.state.clone(),
        commit_id: fields.commit_id.clone().unwrap_or_default(),
        actor_association: fields.author_association.clone(),
        other_json: rest(&found.members, REVIEW_MEMBERS),
    }
}
