//! The canonical dump of a view.

use std::collections::BTreeMap;

use super::View;
use super::apply::State;
use crate::dump::{
    ClLine, CommentLine, CommitLine, DismissedLine, Dump, EventLine, IssueLine, Line, MessageLine,
    MilestoneRef, ReviewLine, text_hash,
};
use crate::mutation::TeamView;
use crate::query::{Cl, Commit, Event, Issue, IssueMilestone, Repo, Review, UnixTime, User};

fn seconds(time: Option<UnixTime>) -> Option<i64> {
    time.map(UnixTime::seconds)
}

fn id(user: Option<User<'_>>) -> Option<i64> {
    user.map(|user| user.id())
}

impl View {
    /// Everything this view knows, in the format of `docs/protocol/canonical-dump.md`.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let dump = corpus.view().canonical_dump();
    /// assert!(dump.lines().iter().any(|line| line.contains("cmd/go: builds too fast")));
    /// assert_eq!(dump.fingerprint().len(), 64);
    /// ```
    pub fn canonical_dump(&self) -> Dump {
        let mut dump = Dump::new();
        for repo in self.github().repos() {
            dump_repo(&mut dump, repo);
        }
        for commit in self.git().commits() {
            dump_commit(&mut dump, commit);
        }
        for project in self.gerrit().projects() {
            for found in project.refs() {
                let hash = found.hash().to_string();
                let (project, name) = (project.full_name(), found.name());
                dump.push(&Line::Ref {
                    hash,
                    project,
                    r#ref: name,
                });
            }
            project.cls().for_each(|cl| dump_cl(&mut dump, cl));
        }
        dump.finish(|id| login(self.state(), id))
    }
}

fn login(state: &State, id: i64) -> &str {
    state
        .github
        .users
        .find(id)
        .map_or("", |user| state.log.str(user.name))
}

fn dump_repo(dump: &mut Dump, repo: Repo<'_>) {
    let full = repo.to_string();
    let mut shown = false;
    for label in repo.labels() {
        dump.push(&Line::Label {
            id: label.id(),
            name: label.name(),
            repo: &full,
        });
        shown = true;
    }
    for milestone in repo.milestones() {
        dump.push(&Line::Milestone {
            closed: milestone.is_closed(),
            id: milestone.id(),
            number: milestone.number(),
            repo: &full,
            title: milestone.title(),
        });
        shown = true;
    }
    for issue in repo.issues().with_tombstones() {
        dump_issue(dump, &full, issue);
        shown = true;
    }
    if shown {
        dump.push(&Line::Ghrepo {
            owner: repo.owner(),
            repo: repo.name(),
        });
    }
}

fn dump_issue(dump: &mut Dump, repo: &str, issue: Issue<'_>) {
    let number = issue.number();
    if !issue.exists() {
        dump.push(&Line::Tombstone { number, repo });
        return;
    }
    dump.push(&Line::Issue(IssueLine {
        assignees: issue.assignees().map(|user| user.id()).collect(),
        body_sha256: text_hash(issue.body().as_bytes()),
        closed: issue.is_closed(),
        closed_at: seconds(issue.closed_at()),
        closed_by: id(issue.closed_by()),
        created: seconds(issue.created()),
        id: issue.id(),
        labels: issue.labels().map(|label| label.id()).collect(),
        locked: issue.is_locked(),
        milestone: match issue.milestone() {
            IssueMilestone::Unknown => MilestoneRef::UNKNOWN,
            IssueMilestone::None => MilestoneRef::NONE,
            IssueMilestone::Some(milestone) => MilestoneRef::Id(milestone.id()),
        },
        number,
        pull_request: issue.is_pull_request(),
        repo,
        title: issue.title(),
        updated: seconds(issue.updated()),
        user: id(issue.author()),
    }));
    for comment in issue.comments() {
        dump.push(&Line::Comment(CommentLine {
            body_sha256: text_hash(comment.body().as_bytes()),
            created: seconds(comment.created()),
            id: comment.id(),
            number,
            repo,
            updated: seconds(comment.updated()),
            user: id(comment.author()),
        }));
    }
    issue
        .events()
        .for_each(|event| dump_event(dump, repo, number, &event));
    issue
        .reviews()
        .for_each(|review| dump_review(dump, repo, number, &review));
}

fn dump_event(dump: &mut Dump, repo: &str, number: i32, event: &Event<'_>) {
    let stored = event.stored();
    let commit = stored.commit();
    let (from, to) = event.rename();
    dump.push(&Line::Event(EventLine {
        actor: id(event.actor()),
        assignee: id(event.assignee()),
        assigner: id(event.assigner()),
        commit_id: commit.map_or("", |commit| commit.commit_id()),
        commit_repo: commit
            .filter(|commit| !commit.owner().is_empty() || !commit.repo().is_empty())
            .map_or_else(String::new, |commit| {
                format!("{}/{}", commit.owner(), commit.repo())
            }),
        created: seconds(event.created()),
        dismissed: stored.dismissed_review().map(|dismissed| DismissedLine {
            message: dismissed.dismissal_message(),
            review_id: dismissed.review_id(),
            state: dismissed.state(),
        }),
        from,
        id: event.id(),
        label: event.label(),
        milestone: event.milestone(),
        number,
        repo,
        requester: id(event.review_requester()),
        reviewer: id(event.reviewer()),
        team: stored
            .team_reviewer()
            .map(TeamView::id)
            .filter(|&team| team != 0),
        to,
        event_type: event.event_type(),
    }));
}

fn dump_review(dump: &mut Dump, repo: &str, number: i32, review: &Review<'_>) {
    dump.push(&Line::Review(ReviewLine {
        actor: id(review.reviewer()),
        association: review.association(),
        body_sha256: text_hash(review.body().as_bytes()),
        commit_id: review.commit_id(),
        created: seconds(review.created()),
        id: review.id(),
        number,
        repo,
        state: review.review_state(),
    }));
}

fn dump_commit(dump: &mut Dump, commit: Commit<'_>) {
    let hash = commit.hash().to_string();
    if !commit.is_known() {
        dump.push(&Line::Placeholder { hash });
        return;
    }
    let (author, committer) = (commit.author(), commit.committer());
    dump.push(&Line::Commit(CommitLine {
        author: author.full().to_owned(),
        author_time: author.time().seconds(),
        author_tz: author.zone(),
        committer: committer.full().to_owned(),
        committer_time: committer.time().seconds(),
        committer_tz: committer.zone(),
        files: commit
            .files()
            .map(|file| {
                (
                    file.name(),
                    file.added().into(),
                    file.deleted().into(),
                    file.is_binary(),
                )
            })
            .collect(),
        hash,
        msg_sha256: text_hash(commit.message_bytes()),
        parents: commit
            .parents()
            .map(|parent| parent.hash().to_string())
            .collect(),
        tree: commit
            .tree()
            .map_or_else(String::new, |tree| tree.to_string()),
    }));
}

fn dump_cl(dump: &mut Dump, cl: Cl<'_>) {
    let mut votes: BTreeMap<String, BTreeMap<String, i8>> = BTreeMap::new();
    for vote in cl.votes() {
        let voters = votes.entry(vote.label().to_owned()).or_default();
        voters.insert(vote.voter().to_owned(), vote.value());
    }
    let message = |message: crate::query::Message<'_>| MessageLine {
        author: message.author().full().to_owned(),
        date: message.date().seconds(),
        text_sha256: text_hash(message.text_bytes()),
        version: message.version(),
    };
    let mut refs: Vec<String> = cl.references().map(|issue| issue.to_string()).collect();
    refs.sort();
    dump.push(&Line::Cl(ClLine {
        branch: cl.branch(),
        commit: cl.commit().hash().to_string(),
        created: cl.created().seconds(),
        hashtags: cl.hashtags().as_str(),
        messages: cl.messages().map(message).collect(),
        metas: cl
            .metas()
            .map(|meta| meta.commit().hash().to_string())
            .collect(),
        number: cl.number(),
        private: cl.is_private(),
        project: cl.project().full_name(),
        refs,
        status: cl.status().as_str(),
        version: cl.version(),
        votes,
        wip: cl.is_work_in_progress(),
    }));
}
