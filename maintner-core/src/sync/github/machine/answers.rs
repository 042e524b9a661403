//! What answers say.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Machine;
use crate::View;
use crate::pb::GithubIssueMutation;
use crate::query;
use crate::sync::github::Answer;
use crate::sync::github::diff::{comment, event, of_issue, review, status};
use crate::sync::github::keyset::Turn;
use crate::sync::github::limits::Verdict;
use crate::sync::github::model::{
    CodeComment, Comment, Event, Issue, Label, Milestone, Review, number_at_end, with_members,
};
use crate::sync::github::tasks::{Page, Task};

/// How long after a change its events are read again, in seconds.
const AGAIN: [i64; 3] = [60, 600, 3600];
/// GitHub's lists lag behind by this much at most, in seconds.
const LAG: i64 = 300;

/// Whether an answer's tag stands for a list that was read to its end.
pub(super) enum Taken {
    Whole,
    Passing,
}

/// Why an answer could not be taken.
pub(super) enum Trouble {
    /// It is not what was asked for; asking again may help.
    Cut(String),
    /// The repository is not there.
    NoRepository,
}

type Outcome = Result<Taken, (Box<Task>, Trouble)>;

pub(super) fn parse<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Trouble> {
    serde_json::from_slice(&answer.body).map_err(|error| Trouble::Cut(error.to_string()))
}

impl Machine {
    pub(super) fn take(
        &mut self,
        view: &View,
        task: Task,
        verdict: Verdict,
        answer: &Answer,
    ) -> Outcome {
        let repo = view.github().try_repo(&self.repo.owner, &self.repo.name);
        match task {
            Task::Check { number, .. } => {
                return self
                    .take_check(repo, number, verdict, answer)
                    .map_err(|trouble| (Box::new(Self::checking(number)), trouble));
            }
            Task::Confirm { number, comment } => {
                if verdict == Verdict::Gone {
                    let mut change = self.repo.issue(number);
                    change.deleted_comment.push(comment);
                    self.pending.push(of_issue(change));
                }
                return Ok(Taken::Whole);
            }
            // What is odd about it is no news of the repository.
            Task::Minimized(_) if verdict != Verdict::Good => return Ok(Taken::Passing),
            _ => {}
        }
        match verdict {
            Verdict::Unchanged => {
                self.cycle.answered = true;
                self.unchanged(&task);
                return Ok(Taken::Passing);
            }
            Verdict::Moved(place) => return self.moved(task, &place),
            Verdict::Gone => return self.gone(task),
            Verdict::TooFar => return self.too_far(task),
            _ => {}
        }
        let more = answer.link("next").is_some();
        let done = match &task {
            Task::Labels(_) => self.take_labels(repo, &task, answer, more),
            Task::Milestones(_) => self.take_milestones(repo, &task, answer, more),
            Task::Issues | Task::Sweep(..) => self.take_issues(repo, &task, answer, more),
            Task::Comments => self.take_comments(repo, answer, more),
            Task::CodeComments => self.take_code_comments(repo, answer, more),
            Task::Pulls(page) => self.take_pulls(repo, *page, answer, more),
            Task::Minimized(asked) => self.take_minimized(repo, asked, answer),
            Task::Events(page) => self.take_events(repo, *page, answer, more),
            Task::IssueComments { .. } => self.take_issue_comments(repo, &task, answer, more),
            Task::IssueEvents { number, page } => {
                self.take_issue_events(repo, *number, *page, answer, more)
            }
            Task::Reviews { .. } => self.take_reviews(repo, &task, answer, more),
            _ => Ok(Taken::Passing),
        };
        self.cycle.answered |= done.is_ok();
        done.map_err(|trouble| (Box::new(task), trouble))
    }

    fn checking(number: i32) -> Task {
        Task::Check {
            number,
            place: None,
        }
    }

    /// Nothing is new in a list.
    fn unchanged(&mut self, task: &Task) {
        let next = |slot: &str, page: &Page| format!("{slot}/{}", page.0 + 1);
        match task {
            Task::Labels(page) if self.notes.tags.contains_key(&next("labels", page)) => {
                self.tasks.push_front(Task::Labels(Page(page.0 + 1)));
            }
            Task::Milestones(page) if self.notes.tags.contains_key(&next("milestones", page)) => {
                self.tasks.push_front(Task::Milestones(Page(page.0 + 1)));
            }
            Task::Comments => self.cycle.comments = Some(self.now),
            Task::Events(_) => self.cycle.events = Some(self.now),
            _ => {}
        }
    }

    /// The repository has another name now: its number is for good.
    fn moved(&mut self, task: Task, place: &str) -> Outcome {
        let number = place.split_once("/repositories/").map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split(['/', '?']).next());
        let base = number.map(|number| format!("/repositories/{number}"));
        if let Some(number) = of_one_issue(&task) {
            // An issue that moved somewhere else is seen by looking at the issue itself.
            self.tasks.push_front(Self::checking(number));
            return Ok(Taken::Passing);
        }
        match base {
            Some(base) if self.notes.moved_to.as_ref() != Some(&base) => {
                self.notes.moved_to = Some(base);
                self.notes.tags.clear();
                self.unsaved = true;
                self.tasks.push_front(task);
                Ok(Taken::Passing)
            }
            _ => {
                let reason = format!("it is said to be at {place}, which makes no sense");
                Err((Box::new(task), Trouble::Cut(reason)))
            }
        }
    }

    fn gone(&mut self, task: Task) -> Outcome {
        match task {
            _ if of_one_issue(&task).is_some() => {
                let number = of_one_issue(&task).unwrap_or_default();
                self.tasks.push_front(Self::checking(number));
                Ok(Taken::Passing)
            }
            // Where issues are switched off, the list is gone and the repository is not.
            _ if self.cycle.answered => Ok(Taken::Passing),
            _ => Err((Box::new(task), Trouble::NoRepository)),
        }
    }

    /// GitHub does not list more of the repository's events.
    fn too_far(&mut self, task: Task) -> Outcome {
        match task {
            Task::Events(_) => {
                self.end_of_events();
                Ok(Taken::Passing)
            }
            task => {
                let reason = "GitHub cannot process the request".to_owned();
                Err((Box::new(task), Trouble::Cut(reason)))
            }
        }
    }

    fn take_labels(
        &mut self,
        repo: Option<query::Repo<'_>>,
        task: &Task,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let labels: Vec<Label> = parse(answer)?;
        self.pending.extend(self.repo.labels(repo, &labels));
        if let Task::Labels(page) = task {
            self.page_of("labels", page.0, more, Task::Labels);
        }
        Ok(Taken::Whole)
    }

    fn take_milestones(
        &mut self,
        repo: Option<query::Repo<'_>>,
        task: &Task,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let milestones: Vec<Milestone> = parse(answer)?;
        self.pending.extend(self.repo.milestones(repo, &milestones));
        if let Task::Milestones(page) = task {
            self.page_of("milestones", page.0, more, Task::Milestones);
        }
        Ok(Taken::Whole)
    }

    fn page_of(&mut self, list: &str, page: u32, more: bool, task: impl Fn(Page) -> Task) {
        let next = format!("{list}/{}", page + 1);
        if more {
            // Until it has a tag of its own, it is asked for even if this page stays the same.
            self.notes.tags.entry(next).or_default();
            self.tasks.push_front(task(Page(page + 1)));
        } else {
            self.notes.tags.remove(&next);
        }
    }

    fn take_issues(
        &mut self,
        repo: Option<query::Repo<'_>>,
        task: &Task,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let issues: Vec<Issue> = parse(answer)?;
        let last = issues.iter().map(|issue| issue.updated_at).max();
        let (mut new, mut seen) = (false, HashSet::new());
        for issue in &issues {
            if seen.insert(issue.number) {
                new |= self.learn_issue(repo, issue);
            }
        }
        if let Task::Sweep(keyset, before) = task {
            let mut keyset = keyset.clone();
            seen.extend(before);
            match keyset.turn(last, new, more) {
                Turn::More => self.tasks.push_front(Task::Sweep(keyset, seen)),
                Turn::End => self.swept(repo, &seen),
            }
            return Ok(Taken::Passing);
        }
        let turn = self.notes.issues.turn(last, new, more);
        self.unsaved = true;
        if turn == Turn::More {
            self.tasks.push_front(Task::Issues);
            return Ok(Taken::Passing);
        }
        Ok(Taken::Whole)
    }

    /// Issues that are known and that the list of all issues lacks.
    fn swept(&mut self, repo: Option<query::Repo<'_>>, seen: &HashSet<i32>) {
        let known = repo.into_iter().flat_map(|repo| repo.issues());
        let lost = known
            .map(|issue| issue.number())
            .filter(|number| !seen.contains(number));
        let lost: Vec<i32> = lost.collect();
        for number in lost.into_iter().rev() {
            self.tasks.push_front(Self::checking(number));
        }
    }

    /// Notes what changed in an issue; whether anything did.
    fn learn_issue(&mut self, repo: Option<query::Repo<'_>>, found: &Issue) -> bool {
        if let Some(url) = &found.repository_url {
            self.cycle.url = Some(url.clone());
        }
        self.cycle.counts.insert(found.number, found.comments);
        let known = repo.and_then(|repo| repo.try_issue(found.number));
        let Some(change) = self.repo.change(known, found) else {
            return false;
        };
        self.pending.push(of_issue(change));
        // Not during the first reading: its events have long arrived.
        if self.notes.events.floor.is_some() {
            let again = AGAIN.map(|after| (self.now + after, found.number));
            self.notes
                .again
                .retain(|&(_, number)| number != found.number);
            self.notes.again.extend(again);
            self.unsaved = true;
        }
        true
    }

    fn take_check(
        &mut self,
        repo: Option<query::Repo<'_>>,
        number: i32,
        verdict: Verdict,
        answer: &Answer,
    ) -> Result<Taken, Trouble> {
        let known = repo.and_then(|repo| repo.try_issue(number));
        let here = match verdict {
            Verdict::Moved(place) => {
                let place = place.replacen("https://api.github.com", "", 1);
                self.tasks.push_front(Task::Check {
                    number,
                    place: Some(place),
                });
                return Ok(Taken::Passing);
            }
            Verdict::Gone => false,
            _ => {
                let found: Issue = parse(answer)?;
                let own = match (&found.repository_url, &self.cycle.url) {
                    (Some(found), Some(own)) => found.eq_ignore_ascii_case(own),
                    _ => true,
                };
                let here = own && found.number == number;
                if here {
                    self.learn_issue(repo, &found);
                }
                here
            }
        };
        self.cycle.checked.insert(number);
        if !here && known.is_none_or(|known| known.exists()) {
            self.pending.push(self.repo.tombstone(number));
        }
        Ok(Taken::Whole)
    }

    /// An issue that something is said of and that is not known, or not any more: it is looked
    /// at on its own, with all it has.
    fn unknown(&mut self, repo: Option<query::Repo<'_>>, numbers: impl Iterator<Item = i32>) {
        for number in numbers {
            let known = repo.and_then(|repo| repo.try_issue(number));
            if known.is_some_and(|known| known.exists()) || !self.cycle.checked.insert(number) {
                continue;
            }
            let all = [
                Self::checking(number),
                Task::IssueComments {
                    number,
                    page: Page(1),
                    seen: HashSet::new(),
                },
                Task::IssueEvents {
                    number,
                    page: Page(1),
                },
            ];
            // Before the present list goes on: what it said is not written.
            all.into_iter()
                .rev()
                .for_each(|task| self.tasks.push_front(task));
        }
    }

    fn take_comments(
        &mut self,
        repo: Option<query::Repo<'_>>,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let comments: Vec<Comment> = parse(answer)?;
        let last = comments.iter().map(|comment| comment.updated_at).max();
        let mut of: BTreeMap<i32, Vec<Comment>> = BTreeMap::new();
        for comment in comments {
            if let Some(number) = number_at_end(comment.issue_url.as_deref()) {
                of.entry(number).or_default().push(comment);
            }
        }
        let mut new = false;
        for (number, comments) in &of {
            new |= self.learn_comments(repo, *number, comments);
        }
        let turn = self.notes.comments.turn(last, new, more);
        self.unsaved = true;
        let taken = if turn == Turn::More {
            self.tasks.push_front(Task::Comments);
            Taken::Passing
        } else {
            self.cycle.comments = Some(self.now);
            Taken::Whole
        };
        self.unknown(repo, of.into_keys());
        Ok(taken)
    }

    /// Notes new and changed comments of an issue that exists; whether there are any.
    fn learn_comments(
        &mut self,
        repo: Option<query::Repo<'_>>,
        number: i32,
        comments: &[Comment],
    ) -> bool {
        let Some(issue) = repo.and_then(|repo| repo.try_issue(number)) else {
            return false;
        };
        let known: HashMap<i64, query::Comment<'_>> =
            issue.comments().map(|known| (known.id(), known)).collect();
        let mut change = self.repo.issue(number);
        let mut seen = HashSet::new();
        for found in comments.iter().filter(|found| seen.insert(found.id)) {
            change
                .comment
                .extend(comment(known.get(&found.id).copied(), found));
        }
        self.push_if(issue, !change.comment.is_empty(), change)
    }

    /// Notes a change, unless it is none or about an issue that does not exist.
    pub(super) fn push_if(
        &mut self,
        issue: query::Issue<'_>,
        any: bool,
        change: GithubIssueMutation,
    ) -> bool {
        let wanted = any && issue.exists();
        if wanted {
            self.pending.push(of_issue(change));
        }
        wanted
    }

    fn take_issue_comments(
        &mut self,
        repo: Option<query::Repo<'_>>,
        task: &Task,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let Task::IssueComments { number, page, seen } = task else {
            return Ok(Taken::Passing);
        };
        let comments: Vec<Comment> = parse(answer)?;
        let mut seen = seen.clone();
        seen.extend(comments.iter().map(|comment| comment.id));
        self.learn_comments(repo, *number, &comments);
        if more {
            self.tasks.push_front(Task::IssueComments {
                number: *number,
                page: Page(page.0 + 1),
                seen,
            });
            return Ok(Taken::Passing);
        }
        let issue = repo.and_then(|repo| repo.try_issue(*number));
        let known = issue.into_iter().flat_map(|issue| issue.comments());
        let lost: Vec<i64> = known
            .map(|known| known.id())
            .filter(|id| !seen.contains(id))
            .collect();
        // A count that stays different though nothing is missing is GitHub's own affair.
        if let Some(count) = self
            .cycle
            .doubted
            .remove(number)
            .filter(|_| lost.is_empty())
        {
            self.explained.insert(*number, count);
        }
        for comment in lost {
            self.tasks.push_front(Task::Confirm {
                number: *number,
                comment,
            });
        }
        Ok(Taken::Whole)
    }

    fn take_events(
        &mut self,
        repo: Option<query::Repo<'_>>,
        page: Page,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let events = read_events(answer)?;
        let times = || events.iter().map(|event| event.fields.created_at);
        let (newest, oldest) = (times().max(), times().min());
        if page == Page(1) {
            self.notes.events.newest = newest;
            self.notes.events.began = Some(self.now);
        }
        let mut of: BTreeMap<i32, Vec<&Event>> = BTreeMap::new();
        for event in &events {
            if let Some(issue) = &event.fields.issue {
                of.entry(issue.number).or_default().push(event);
            }
        }
        for (number, events) in &of {
            self.learn_events(repo, *number, events, None);
        }
        self.notes.events.page = page.0;
        self.notes.events.horizon = oldest;
        self.unsaved = true;
        let floor = self.notes.events.floor;
        let below = floor
            .zip(oldest)
            .is_some_and(|(floor, oldest)| oldest < floor - LAG);
        if more && !below {
            self.tasks.push_front(Task::Events(Page(page.0 + 1)));
        } else {
            // Beyond the end there is nothing; beyond the floor everything was read.
            self.notes.events.horizon = None;
            self.end_of_events();
        }
        self.unknown(repo, of.into_keys());
        // A tag stands for a reading that was finished.
        let whole = page == Page(1) && (!more || below);
        Ok(if whole { Taken::Whole } else { Taken::Passing })
    }

    fn end_of_events(&mut self) {
        let notes = &mut self.notes.events;
        self.cycle.events = notes.began;
        // An empty list is one that was read, too.
        notes.floor = notes.newest.or(notes.floor).or(notes.began);
        notes.page = 0;
        self.unsaved = true;
    }

    /// Notes events that are not known, with the end of their list if this is it.
    fn learn_events(
        &mut self,
        repo: Option<query::Repo<'_>>,
        number: i32,
        events: &[&Event],
        end: Option<i64>,
    ) -> bool {
        let Some(issue) = repo.and_then(|repo| repo.try_issue(number)) else {
            return false;
        };
        let mut known: HashSet<i64> = issue.events().map(|known| known.id()).collect();
        let mut change = self.repo.issue(number);
        let fresh = events.iter().filter(|found| known.insert(found.fields.id));
        change.event = fresh.map(|found| event(found)).collect();
        change
            .event
            .sort_by_key(|event| (event.created.as_ref().map(|at| at.seconds), event.id));
        let known_until = issue.events_as_of().map(query::UnixTime::seconds);
        change.event_status = end
            .filter(|&end| known_until.is_none_or(|until| until < end))
            .filter(|_| !change.event.is_empty() || known_until.is_none())
            .and_then(status);
        let any = !change.event.is_empty() || change.event_status.is_some();
        self.push_if(issue, any, change)
    }

    fn take_issue_events(
        &mut self,
        repo: Option<query::Repo<'_>>,
        number: i32,
        page: Page,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let events = read_events(answer)?;
        let events: Vec<&Event> = events.iter().collect();
        let end = (!more).then_some(self.now);
        self.learn_events(repo, number, &events, end);
        if more {
            self.tasks.push_front(Task::IssueEvents {
                number,
                page: Page(page.0 + 1),
            });
        }
        Ok(Taken::Whole)
    }

    fn take_reviews(
        &mut self,
        repo: Option<query::Repo<'_>>,
        task: &Task,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let Task::Reviews {
            number,
            page,
            found,
        } = task
        else {
            return Ok(Taken::Passing);
        };
        let read = with_members(&answer.body, |fields, members| Review { fields, members })
            .map_err(|error| Trouble::Cut(error.to_string()))?;
        let mut found = found.clone();
        found.extend(read.iter().map(review));
        if more {
            self.tasks.push_front(Task::Reviews {
                number: *number,
                page: Page(page.0 + 1),
                found,
            });
            return Ok(Taken::Passing);
        }
        let Some(pull) = repo.and_then(|repo| repo.try_issue(*number)) else {
            return Ok(Taken::Passing);
        };
        use prost::Message as _;
        let known: HashMap<i64, Vec<u8>> = pull
            .reviews()
            .map(|known| (known.id(), known.stored().encoded().to_vec()))
            .collect();
        let mut seen = HashSet::new();
        found.retain(|found| {
            found.id != 0
                && seen.insert(found.id)
                && known.get(&found.id) != Some(&found.encode_to_vec())
        });
        let mut change = self.repo.issue(*number);
        change.review = found;
        change.review_status = status(self.now);
        self.push_if(pull, true, change);
        Ok(Taken::Whole)
    }

    fn take_code_comments(
        &mut self,
        repo: Option<query::Repo<'_>>,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let read = with_members(&answer.body, |fields: CodeComment, members| {
            (fields, members)
        })
        .map_err(|error| Trouble::Cut(error.to_string()))?;
        let last = read.iter().map(|(fields, _)| fields.updated_at).max();
        let mut of: BTreeMap<i32, Vec<_>> = BTreeMap::new();
        for (fields, members) in &read {
            if let Some(number) = number_at_end(Some(&fields.pull_request_url)) {
                let event = self.repo.code_comment(fields, members);
                of.entry(number).or_default().push(event);
            }
        }
        let mut new = false;
        for (number, mut events) in of {
            let Some(pull) = repo.and_then(|repo| repo.try_issue(number)) else {
                continue;
            };
            let known: HashMap<i64, &[u8]> = pull
                .events()
                .map(|known| (known.id(), known.stored().other_json()))
                .collect();
            let mut seen = HashSet::new();
            events.retain(|event| {
                seen.insert(event.id) && known.get(&event.id) != Some(&&*event.other_json)
            });
            let mut change = self.repo.issue(number);
            change.event = events;
            new |= self.push_if(pull, !change.event.is_empty(), change);
        }
        let turn = self.notes.code_comments.turn(last, new, more);
        self.unsaved = true;
        if turn == Turn::More {
            self.tasks.push_front(Task::CodeComments);
            return Ok(Taken::Passing);
        }
        Ok(Taken::Whole)
    }
}

fn read_events(answer: &Answer) -> Result<Vec<Event>, Trouble> {
    with_members(&answer.body, |fields, members| Event { fields, members })
        .map_err(|error| Trouble::Cut(error.to_string()))
}

/// The issue that a task is about, for those that are about one.
fn of_one_issue(task: &Task) -> Option<i32> {
    match task {
        Task::IssueComments { number, .. }
        | Task::IssueEvents { number, .. }
        | Task::Reviews { number, .. } => Some(*number),
        _ => None,
    }
}
