//! Which tasks a comparison has, their paths, and those that need only the view.

use super::Machine;
use crate::View;
use crate::query::{self, UnixTime};
use crate::sync::github::diff::{of_issue, status};
use crate::sync::github::keyset::Keyset;
use crate::sync::github::notes::Saved;
use crate::sync::github::tasks::{Page, Task};

/// Seconds between two listings of all issues.
const SWEEP: i64 = 7 * 24 * 3600;

/// The path of a task's request; none for tasks that need only the view.
pub(super) fn path(task: &Task, base: &str, notes: &Saved) -> Option<String> {
    let keyset = |list: &str, keyset: &Keyset| {
        format!(
            "{base}/{list}sort=updated&direction=asc&per_page=100{}",
            keyset.query()
        )
    };
    let page = |list: String, page: Page| match page.0 {
        1 => format!("{base}/{list}per_page=100"),
        page => format!("{base}/{list}per_page=100&page={page}"),
    };
    Some(match task {
        Task::Labels(at) => page("labels?".into(), *at),
        Task::Milestones(at) => page("milestones?state=all&".into(), *at),
        Task::Issues => keyset("issues?state=all&", &notes.issues),
        Task::Sweep(at, _) => keyset("issues?state=all&", at),
        Task::Comments => keyset("issues/comments?", &notes.comments),
        Task::CodeComments => keyset("pulls/comments?", &notes.code_comments),
        Task::Pulls(at) => page("pulls?state=open&sort=updated&direction=desc&".into(), *at),
        Task::Events(at) => page("issues/events?".into(), *at),
        Task::Check {
            place: Some(place), ..
        } => place.clone(),
        Task::Check { number, .. } => format!("{base}/issues/{number}"),
        Task::IssueComments {
            number, page: at, ..
        } => page(format!("issues/{number}/comments?"), *at),
        Task::Confirm { comment, .. } => format!("{base}/issues/comments/{comment}"),
        Task::IssueEvents { number, page: at } => page(format!("issues/{number}/events?"), *at),
        Task::Reviews {
            number, page: at, ..
        } => page(format!("pulls/{number}/reviews?"), *at),
        Task::Minimized(_)
        | Task::FindMinimized
        | Task::Consider
        | Task::Missing
        | Task::OpenEvents
        | Task::Doubts
        | Task::StaleReviews
        | Task::Settle => {
            return None;
        }
    })
}

impl Machine {
    /// The tasks of a comparison.
    pub(super) fn plan(&mut self) {
        self.cycle = super::Cycle::default();
        let tasks = &mut self.tasks;
        tasks.push_back(Task::Labels(Page(1)));
        tasks.push_back(Task::Milestones(Page(1)));
        tasks.push_back(Task::Issues);
        tasks.push_back(Task::Consider);
        let mut hints: Vec<i32> = self.hints.drain().collect();
        hints.sort_unstable();
        for number in hints {
            tasks.push_back(Task::Check {
                number,
                place: None,
            });
        }
        tasks.push_back(Task::Comments);
        // The first reading goes on where it was; the page before may have grown.
        let page = match self.notes.events.floor {
            None => self.notes.events.page.max(1),
            Some(_) => 1,
        };
        tasks.push_back(Task::Events(Page(page)));
        tasks.push_back(Task::CodeComments);
        if !self.notes.heads_whole {
            self.notes.tags.remove("pulls");
        }
        tasks.push_back(Task::Pulls(Page(1)));
        let last = [
            Task::StaleReviews,
            Task::FindMinimized,
            Task::Doubts,
            Task::Settle,
        ];
        for task in last {
            tasks.push_back(task);
        }
    }

    /// Does a task that needs only the view.
    pub(super) fn look(&mut self, view: &View, task: Task) {
        let repo = view.github().try_repo(&self.repo.owner, &self.repo.name);
        match (task, repo) {
            (Task::Consider, _) => self.consider(),
            (Task::Missing, repo) => self.find_missing(repo),
            (Task::OpenEvents, Some(repo)) => {
                let open = repo.issues().open().map(|issue| Task::IssueEvents {
                    number: issue.number(),
                    page: Page(1),
                });
                let open: Vec<Task> = open.collect();
                open.into_iter()
                    .rev()
                    .for_each(|task| self.tasks.push_front(task));
            }
            (Task::StaleReviews, Some(repo)) => self.find_stale_reviews(repo),
            (Task::FindMinimized, Some(repo)) => self.find_minimized(repo),
            (Task::Doubts, Some(repo)) => self.find_doubts(repo),
            (Task::Settle, Some(repo)) => self.settle(repo),
            _ => {}
        }
    }

    fn check(number: i32) -> Task {
        Task::Check {
            number,
            place: None,
        }
    }

    /// Issues that are gone leave no trace in lists of what changed: after the first listing, and
    /// after one of everything now and then, what is missing is looked for.
    fn consider(&mut self) {
        match self.notes.swept {
            None => self.tasks.push_front(Task::Missing),
            Some(swept) if self.now - swept >= SWEEP => {
                // An answer that was old may have explained a difference wrongly.
                self.explained.clear();
                self.tasks.push_front(Task::Missing);
                self.tasks.push_front(Task::OpenEvents);
                let all = Task::Sweep(Keyset::default(), Default::default());
                self.tasks.push_front(all);
            }
            Some(_) => {}
        }
    }

    /// Numbers below the highest that no list had: deleted, moved, or another kind of thing. When
    /// each was looked at, the listing counts as done.
    fn find_missing(&mut self, repo: Option<query::Repo<'_>>) {
        let mut next = 1;
        let mut missing = Vec::new();
        for issue in repo
            .into_iter()
            .flat_map(|repo| repo.issues().with_tombstones())
        {
            missing.extend(next..issue.number());
            next = issue.number().saturating_add(1);
        }
        missing.retain(|number| !self.cycle.checked.contains(number));
        if missing.is_empty() {
            self.notes.swept = Some(self.now);
            self.unsaved = true;
            return;
        }
        self.tasks.push_front(Task::Missing);
        let tasks = missing.into_iter().rev().map(Self::check);
        tasks.for_each(|task| self.tasks.push_front(task));
    }

    fn find_stale_reviews(&mut self, repo: query::Repo<'_>) {
        let stale = repo
            .issues()
            .only_pull_requests()
            .filter(|pull| is_stale(pull.reviews_as_of(), pull));
        let tasks: Vec<Task> = stale
            .map(|pull| Task::Reviews {
                number: pull.number(),
                page: Page(1),
                found: Vec::new(),
            })
            .collect();
        tasks
            .into_iter()
            .rev()
            .for_each(|task| self.tasks.push_front(task));
    }

    /// Issues with more or fewer comments than GitHub counts, those whose events may have come
    /// late, and those beyond what GitHub lists of the repository's events.
    fn find_doubts(&mut self, repo: query::Repo<'_>) {
        let mut tasks = Vec::new();
        let mut counts: Vec<(i32, u64)> = self.cycle.counts.drain().collect();
        counts.sort_unstable();
        for (number, count) in counts {
            let known = repo.try_issue(number).filter(query::Issue::exists);
            let known = known.map_or(count, |issue| issue.comments().count() as u64);
            if known != count && self.explained.get(&number) != Some(&count) {
                self.cycle.doubted.insert(number, count);
                tasks.push(Task::IssueComments {
                    number,
                    page: Page(1),
                    seen: Default::default(),
                });
            }
        }
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) =
            self.notes.again.drain(..).partition(|&(due, _)| due <= now);
        self.notes.again = later;
        self.unsaved |= !due.is_empty();
        let mut due: Vec<i32> = due.into_iter().map(|(_, number)| number).collect();
        if let Some(horizon) = self.notes.events.horizon {
            let beyond = repo.issues().filter(|issue| {
                issue.events_as_of().is_none()
                    && issue.created().is_some_and(|at| at.seconds() <= horizon)
            });
            due.extend(beyond.map(|issue| issue.number()));
        }
        due.sort_unstable();
        due.dedup();
        tasks.extend(due.into_iter().map(|number| Task::IssueEvents {
            number,
            page: Page(1),
        }));
        tasks
            .into_iter()
            .rev()
            .for_each(|task| self.tasks.push_front(task));
    }

    /// Says of every issue that changed since, up to when its comments and events are known.
    fn settle(&mut self, repo: query::Repo<'_>) {
        let (comments, events) = (self.cycle.comments, self.cycle.events);
        for issue in repo.issues() {
            let newer = |date: Option<i64>, as_of: Option<UnixTime>| {
                date.filter(|&date| {
                    is_stale(as_of, &issue) && as_of.is_none_or(|as_of| as_of.seconds() < date)
                })
            };
            let comments = newer(comments, issue.comments_as_of());
            let events = newer(events, issue.events_as_of());
            if comments.is_some() || events.is_some() {
                let mut change = self.repo.issue(issue.number());
                change.comment_status = comments.and_then(status);
                change.event_status = events.and_then(status);
                self.pending.push(of_issue(change));
            }
        }
    }
}

/// Whether something is known only up to the issue's last change, that very second included.
fn is_stale(as_of: Option<UnixTime>, issue: &query::Issue<'_>) -> bool {
    as_of.is_none() || as_of <= issue.updated()
}
