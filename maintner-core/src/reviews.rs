//! Changes under review: who waits for whom, and since when.
//!
//! ```
//! # let corpus = maintner_core::sample::corpus();
//! use maintner_core::query::UnixTime;
//! use maintner_core::reviews::{Filter, Order, Reviews};
//!
//! let emails = |account: &str| account.starts_with("1234@").then(|| "gopher@example.com".to_owned());
//! let reviews = Reviews::of(&corpus.view(), &Filter::default(), &emails);
//! let text = reviews.ordered(Order::Project).text(UnixTime::new(1_500_100_000), false);
//! assert!(text.contains("CL 14700"));
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

use crate::corpus::{Status, View};
use crate::query::{Cl, Meta, UnixTime};

/// Longest name shown.
const LONGEST_NAME: usize = 12;
/// What begins a vote in a message.
const CODE_REVIEW: &str = "Label: Code-Review=";
const DAY: f64 = 86_400.0;

/// From the address of an account on the server (`5@INSTANCE`) to the person's own.
pub type Emails<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Which changes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Merged ones too.
    pub closed: bool,
    /// Only those that wait for their reviewer.
    pub needs_review: bool,
    /// Only those that ask not to be reviewed: in progress, or `DO NOT REVIEW` and the like in
    /// the subject.
    pub do_not_review: bool,
    /// Only the one with this number.
    pub number: Option<i32>,
    /// Only those of this project.
    pub project: Option<String>,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By project (`go` first), subject, number.
    Project,
    /// Oldest first.
    Age,
    /// Those first that have waited longest.
    Delay,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Review {
    /// Its number.
    pub number: i32,
    /// Its project.
    pub project: String,
    /// Its subject.
    pub subject: String,
    /// The address of its author, when known.
    pub author: Option<String>,
    /// The address of who reviews it, when known.
    pub reviewer: Option<String>,
    /// The reviewer's vote; 0 for none.
    pub score: i32,
    /// Whether it waits for the reviewer; else for its author.
    pub needs_review: bool,
    /// Since when, seconds since 1970; unknown when its author is.
    pub since: Option<i64>,
    /// When it was uploaded first, seconds since 1970.
    pub created: i64,
    /// Whether it is merged.
    pub closed: bool,
    #[serde(skip)]
    widest_author: usize,
}

/// Changes in some order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviews(Vec<Review>);

impl Reviews {
    /// The changes of all projects that the filter lets through; never abandoned ones.
    #[must_use]
    pub fn of(view: &View, filter: &Filter, emails: Emails<'_>) -> Self {
        let gerrit = view.gerrit();
        let projects = gerrit.projects().filter(|project| {
            filter
                .project
                .as_deref()
                .is_none_or(|name| name == project.name())
        });
        let wanted = |cl: &Cl<'_>| {
            let status = match cl.status() {
                Status::Abandoned => false,
                Status::Merged => filter.closed,
                _ => true,
            };
            status
                && filter.number.is_none_or(|number| number == cl.number())
                && (!filter.do_not_review || asks_not_to_be_reviewed(cl))
        };
        let reviews = projects.flat_map(|project| {
            project
                .cls()
                .filter(wanted)
                .map(|cl| Review::of(&cl, emails))
                .collect::<Vec<_>>()
        });
        Self(
            reviews
                .filter(|review| !filter.needs_review || review.needs_review)
                .collect(),
        )
    }

    /// The same changes in this order.
    #[must_use]
    pub fn ordered(mut self, order: Order) -> Self {
        // The empty word is before all names.
        let project = |review: &Review| {
            if review.project == "go" {
                String::new()
            } else {
                review.project.clone()
            }
        };
        match order {
            Order::Project => self
                .0
                .sort_by_cached_key(|r| (project(r), r.subject.clone(), r.number)),
            Order::Age => self
                .0
                .sort_by_key(|r| (r.created, std::cmp::Reverse(r.number))),
            Order::Delay => self.0.sort_by_key(|r| (r.since, r.number)),
        }
        self
    }

    /// The changes.
    #[must_use]
    pub fn list(&self) -> &[Review] {
        &self.0
    }

    /// A line for each change: number, days in its state and since its beginning, project,
    /// author, reviewer, subject. A `*` marks who is waited for.
    #[must_use]
    pub fn text(&self, now: UnixTime, urls: bool) -> String {
        self.text_of(now, urls, true)
    }

    /// As [`Reviews::text`], without the mark at the reviewer, where all wait for theirs.
    #[must_use]
    pub fn text_of_needed(&self, now: UnixTime, urls: bool) -> String {
        self.text_of(now, urls, false)
    }

    fn text_of(&self, now: UnixTime, urls: bool, marks: bool) -> String {
        let widest = |width: fn(&Review) -> usize| self.0.iter().map(width).max().unwrap_or(0);
        let project = widest(|r| r.project.len());
        let author = widest(|r| r.widest_author).min(LONGEST_NAME) + 1;
        let reviewer = widest(|r| r.reviewer.as_ref().map_or(0, String::len)).min(LONGEST_NAME) + 3;
        let prefix = if urls {
            "https://golang.org/cl/"
        } else {
            "CL "
        };
        let days = |then: i64| {
            #[expect(clippy::cast_precision_loss, reason = "seconds of some years")]
            let days = (now.seconds() - then) as f64 / DAY;
            format!("{days:3.0}")
        };
        let mut text = String::new();
        for r in &self.0 {
            let since = r.since.map_or_else(|| "  ?".to_owned(), days);
            let mark = if r.needs_review { "" } else { "*" };
            let who = name(r.author.as_deref(), author, mark);
            let mut vote = if r.score == 0 {
                String::new()
            } else {
                format!("{:+}", r.score)
            };
            if r.needs_review && marks {
                vote.push('*');
            }
            let whom = name(r.reviewer.as_deref(), reviewer, &vote);
            text += &format!(
                "{prefix}{:<5} {since}/{}d {:<project$}  {who:<author$} {whom:<reviewer$} {}\n",
                r.number,
                days(r.created),
                r.project,
                r.subject
            );
        }
        text
    }
}

/// The part of an address before `@`, cut so that it and what follows it fit.
fn name(email: Option<&str>, width: usize, after: &str) -> String {
    let Some(email) = email else {
        return after.to_owned();
    };
    let name = email.split('@').next().unwrap_or(email);
    let room = width - after.len();
    if name.len() <= room {
        return format!("{name}{after}");
    }
    let mut end = room.saturating_sub(3);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...{after}", &name[..end])
}

fn asks_not_to_be_reviewed(cl: &Cl<'_>) -> bool {
    let subject = cl.subject().to_uppercase();
    cl.is_work_in_progress()
        || ["DO NOT REVIEW", "DO NOT SUBMIT", "DO NOT MERGE"]
            .iter()
            .any(|words| subject.contains(words))
}

impl Review {
    fn of(cl: &Cl<'_>, emails: Emails<'_>) -> Self {
        let author_of = |meta: &Meta<'_>| meta.commit().author().email().to_owned();
        let first = cl
            .metas()
            .next()
            .map(|meta| author_of(&meta))
            .unwrap_or_default();
        let mut review = Self {
            number: cl.number(),
            project: cl.project().name().to_owned(),
            subject: cl.subject(),
            author: emails(&first),
            reviewer: None,
            score: 0,
            needs_review: false,
            since: None,
            created: cl.created().seconds(),
            closed: cl.status() == Status::Merged,
            widest_author: author_of(&cl.meta()).len(),
        };
        if let Some(author) = review.author.clone() {
            review.replay(cl, &author, emails);
        }
        review
    }

    /// Who reviews it, and who acted last.
    fn replay(&mut self, cl: &Cl<'_>, author: &str, emails: Emails<'_>) {
        let (mut initial, mut responder) = (None, None);
        // With the place of the vote, so that the latest of equal ones counts.
        let mut scores: BTreeMap<String, (i32, usize)> = BTreeMap::new();
        for (at, meta) in cl.metas().enumerate() {
            let commit = meta.commit();
            if responder.is_none() {
                responder = emails(commit.author().email()).filter(|email| email != author);
            }
            let Some(reviewer) = commit
                .reviewer()
                .and_then(|person| emails(address(&person)))
            else {
                continue;
            };
            if let Some(score) = vote(&commit.message()) {
                scores.insert(reviewer.clone(), (score, at));
            }
            if initial.is_none() && !reviewer.is_empty() && reviewer != author {
                initial = Some(reviewer);
            }
        }
        let latest_with = |wanted: i32| {
            let given = scores.iter().filter(|(_, (score, _))| *score == wanted);
            given
                .max_by_key(|(_, (_, at))| *at)
                .map(|(who, _)| who.clone())
        };
        self.reviewer = initial
            .or_else(|| latest_with(-2))
            .or_else(|| latest_with(2))
            .or(responder);
        self.score = self
            .reviewer
            .as_ref()
            .and_then(|who| scores.get(who))
            .map_or(0, |(score, _)| *score);
        for meta in cl.metas() {
            let commit = meta.commit();
            let Some(actor) = emails(commit.author().email()) else {
                continue;
            };
            // Whatever the reviewer does is an act of review, an upload too.
            self.needs_review = Some(&actor) != self.reviewer.as_ref();
            self.since = Some(commit.time().seconds());
        }
    }
}

/// The address in `Name <address>`.
fn address(person: &str) -> &str {
    person
        .rsplit_once('<')
        .map_or(person, |(_, rest)| rest.trim_end_matches('>'))
}

fn vote(message: &str) -> Option<i32> {
    let at = message.find(CODE_REVIEW).filter(|at| *at > 0)?;
    message
        .get(at + CODE_REVIEW.len()..)?
        .get(..2)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_are_two_characters() {
        assert_eq!(vote("Patch Set 1\n\nLabel: Code-Review=+2\n"), Some(2));
        assert_eq!(vote("x\nLabel: Code-Review=-1"), Some(-1));
        assert_eq!(vote("x\nLabel: Code-Review=0"), None);
        assert_eq!(
            vote("Label: Code-Review=+1"),
            None,
            "never at the beginning"
        );
    }

    #[test]
    fn names_are_cut_to_their_column() {
        assert_eq!(name(Some("gopher@example.com"), 13, "*"), "gopher*");
        assert_eq!(
            name(Some("averylonggophername@example.com"), 13, "*"),
            "averylong...*"
        );
        assert_eq!(name(Some("ééééééééé@example.com"), 13, ""), "ééééé...");
        assert_eq!(name(None, 13, "*"), "*");
    }

    #[test]
    fn a_change_waits_for_its_reviewer() {
        let corpus = crate::sample::corpus();
        let emails = |account: &str| {
            account
                .starts_with("1234@")
                .then(|| "gopher@example.com".to_owned())
        };
        let view = corpus.view();
        let reviews = Reviews::of(&view, &Filter::default(), &emails);
        let review = &reviews.list()[0];
        assert_eq!(
            (review.number, review.author.as_deref()),
            (14700, Some("gopher@example.com"))
        );
        let nobody = Reviews::of(&view, &Filter::default(), &|_| None);
        assert!(nobody.list()[0].since.is_none());
        let text = nobody.text(UnixTime::new(review.created + 86_400 * 3), true);
        assert!(
            text.starts_with("https://golang.org/cl/14700   ?/  3d go  "),
            "{text}"
        );
        let none = Filter {
            number: Some(1),
            ..Filter::default()
        };
        assert!(Reviews::of(&view, &none, &emails).list().is_empty());
    }
}
