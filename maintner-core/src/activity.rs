//! Who did how much: changes, reviews, issues, files, over time and by person.
//!
//! People have many names in a corpus. A [`Who`] says which names are one person, and whether
//! they belong to the organisation whose share is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use crate::query::{Commit, Issue, Project, UnixTime};
use crate::{Status, View};

/// Changes with more files are moves and cleanups: they say nothing of what somebody works on.
const MANY_FILES: usize = 20;

/// A person, as somebody who knows them says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Somebody {
    /// The name under which they are counted.
    pub name: String,
    /// Whether they belong to the organisation.
    pub inside: bool,
    /// Whether it is a robot.
    pub bot: bool,
}

/// The person with a name: an address, or `@` and a GitHub user.
pub type Who<'a> = &'a dyn Fn(&str) -> Option<Somebody>;

/// What happened in three months.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Quarter {
    /// Such as `2020q4`.
    pub quarter: String,
    /// How much by people of the organisation.
    pub inside: usize,
    /// How much by others.
    pub outside: usize,
    /// How many people of the organisation.
    pub people_inside: usize,
    /// How many others.
    pub people_outside: usize,
}

/// Quarters, and the names that nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Quarters {
    /// In the order of time.
    pub quarters: Vec<Quarter>,
    /// Full names with addresses, or GitHub users, in order.
    pub unknown: BTreeSet<String>,
}

#[derive(Default)]
struct Counting {
    quarters: BTreeMap<String, (Quarter, HashSet<Somebody>)>,
    unknown: BTreeSet<String>,
}

impl Counting {
    fn add(&mut self, time: UnixTime, who: Option<Somebody>, inside: bool) {
        let name = quarter_of(time);
        let (quarter, people) = self.quarters.entry(name).or_default();
        match who.as_ref().map_or(inside, |who| who.inside) {
            true => quarter.inside += 1,
            false => quarter.outside += 1,
        }
        people.extend(who);
    }

    fn done(self) -> Quarters {
        let quarters = self.quarters.into_iter().map(|(name, (quarter, people))| {
            let people_inside = people.iter().filter(|who| who.inside).count();
            Quarter {
                quarter: name,
                people_inside,
                people_outside: people.len() - people_inside,
                ..quarter
            }
        });
        Quarters {
            quarters: quarters.collect(),
            unknown: self.unknown,
        }
    }
}

/// The changes that were made in each quarter. An unknown author with an address of `domain`
/// belongs to the organisation.
#[must_use]
pub fn changes_by_quarter<'v>(
    projects: impl Iterator<Item = Project<'v>>,
    domain: &str,
    who: Who<'_>,
) -> Quarters {
    let mut counting = Counting::default();
    for cl in projects.flat_map(|project| project.cls()) {
        let author = cl.commit().author();
        let known = who(author.email());
        if known.is_none() {
            counting.unknown.insert(author.full().to_owned());
        }
        let at = author.email().rsplit_once('@').map(|(_, at)| at);
        let inside = at.is_some_and(|at| at.eq_ignore_ascii_case(domain));
        counting.add(cl.created(), known, inside);
    }
    counting.done()
}

/// The issues of a repository that were closed in each quarter. What a robot closed was closed by
/// the author of its commit; who is not known is not counted.
#[must_use]
pub fn closes_by_quarter<'v>(
    view: &'v View,
    issues: impl Iterator<Item = Issue<'v>>,
    who: Who<'_>,
) -> Quarters {
    let mut counting = Counting::default();
    let by_commit = |hash: &str| {
        let hash = hash.parse().ok()?;
        let commit: Commit<'v> = view.git().try_commit(hash)?;
        Some(commit.author().email().to_owned())
    };
    for issue in issues.filter(Issue::is_closed) {
        for event in issue
            .events()
            .filter(|event| event.event_type() == "closed")
        {
            let (Some(actor), Some(time)) = (event.actor(), event.created()) else {
                continue;
            };
            let login = format!("@{}", actor.login());
            let (name, known) = match who(&login) {
                Some(known) if known.bot => match by_commit(
                    event
                        .stored()
                        .commit()
                        .map_or("", |commit| commit.commit_id()),
                ) {
                    Some(email) => {
                        let known = who(&email);
                        (email, known)
                    }
                    None => continue,
                },
                known => (login, known),
            };
            match known {
                Some(known) => counting.add(time, Some(known), false),
                None => drop(counting.unknown.insert(name)),
            }
        }
    }
    counting.done()
}

/// Such as `2020q4`, in UTC.
fn quarter_of(time: UnixTime) -> String {
    // Civil dates from days, for the proleptic Gregorian calendar; years begin in March.
    let days = time.seconds().div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}q{}", year + era * 400 + next, (month - 1) / 3 + 1)
}

/// How often each person did something, most first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ranking {
    /// What they did.
    pub title: &'static str,
    /// How often, and who.
    pub people: Vec<(usize, String)>,
}

/// What people did between two times, as seven lists. Robots do nothing.
#[must_use]
pub fn activity<'v>(
    issues: impl Iterator<Item = Issue<'v>>,
    projects: impl Iterator<Item = Project<'v>>,
    (from, to): (UnixTime, UnixTime),
    who: Who<'_>,
) -> Vec<Ranking> {
    let within = |time: Option<UnixTime>| time.is_some_and(|time| time > from && time < to);
    let human = |name: &str| who(name).filter(|who| !who.bot);
    let mut lists: [HashMap<Somebody, usize>; 5] = Default::default();
    let [changes, reviews, created, commented, acted] = &mut lists;
    for issue in issues {
        let Some(author) = issue.author() else {
            continue;
        };
        let of = |login: &str| human(&format!("@{login}"));
        if within(issue.created()) {
            count(created, of(author.login()));
        }
        // Each issue counts once for everybody but its author.
        let others = issue.comments().filter(|comment| within(comment.created()));
        let others = others.filter_map(|comment| comment.author());
        let others = others.filter(|user| user.id() != author.id());
        let people: HashSet<_> = others.filter_map(|user| of(user.login())).collect();
        people
            .into_iter()
            .for_each(|one| count(commented, Some(one)));
        let others = issue.events().filter(|event| within(event.created()));
        let others = others.filter_map(|event| event.actor());
        let others = others.filter(|user| user.id() != author.id());
        let people: HashSet<_> = others.filter_map(|user| of(user.login())).collect();
        people.into_iter().for_each(|one| count(acted, Some(one)));
    }
    let mut files: HashMap<Somebody, HashSet<(&str, &str)>> = HashMap::new();
    let mut dirs: HashMap<Somebody, HashSet<(&str, &str)>> = HashMap::new();
    for project in projects {
        for cl in project.cls() {
            let commit = cl.commit();
            let author = human(commit.author().email());
            if within(Some(cl.created())) {
                count(changes, author.clone());
            }
            let touched: Vec<_> = commit.files().map(|file| file.name()).collect();
            let merged = cl.status() == Status::Merged && within(Some(commit.time()));
            if let Some(author) = author.as_ref().filter(|_| merged)
                && touched.len() <= MANY_FILES
            {
                for file in touched.iter().filter(|file| !file.contains("vendor/")) {
                    let dir = file.rsplit_once('/').map_or(".", |(dir, _)| dir);
                    let name = project.full_name();
                    files
                        .entry(author.clone())
                        .or_default()
                        .insert((name, file));
                    dirs.entry(author.clone()).or_default().insert((name, dir));
                }
            }
            let metas = cl.metas().map(|meta| meta.commit());
            let metas = metas.filter(|commit| within(Some(commit.time())));
            let people: HashSet<_> = metas
                .filter_map(|commit| human(commit.author().email()))
                .filter(|one| Some(one) != author.as_ref())
                .collect();
            people.into_iter().for_each(|one| count(reviews, Some(one)));
        }
    }
    let sizes = |sets: HashMap<Somebody, HashSet<_>>| {
        sets.into_iter()
            .map(|(who, set)| (who, set.len()))
            .collect()
    };
    let [changes, reviews, created, commented, acted] = lists;
    [
        ("CLs created:", changes),
        ("Unique non-self CLs commented on:", reviews),
        ("GitHub issues created:", created),
        ("Unique GitHub issues commented on:", commented),
        ("Unique GitHub issues acted on:", acted),
        ("Unique files edited:", sizes(files)),
        ("Unique directories edited:", sizes(dirs)),
    ]
    .into_iter()
    .map(|(title, list)| ranking(title, list))
    .collect()
}

fn count(list: &mut HashMap<Somebody, usize>, who: Option<Somebody>) {
    if let Some(who) = who {
        *list.entry(who).or_default() += 1;
    }
}

fn ranking(title: &'static str, list: HashMap<Somebody, usize>) -> Ranking {
    let mut people: Vec<_> = list.into_iter().map(|(who, n)| (n, who.name)).collect();
    people.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ranking { title, people }
}

/// What a group of people did in a project since a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CohortProject {
    /// The project.
    pub project: String,
    /// Changes that they made.
    pub opened: usize,
    /// Those among them that were merged.
    pub merged: usize,
    /// Changes of those who had made none before.
    pub opened_by_new: usize,
    /// Those among them that were merged.
    pub merged_by_new: usize,
}

/// What the owners in `cohort`, by account number, did since a day, in each project in which
/// somebody did something for the first time.
#[must_use]
pub fn cohort<'v>(
    projects: impl Iterator<Item = Project<'v>>,
    cohort: &HashSet<i64>,
    since: UnixTime,
) -> Vec<CohortProject> {
    let (mut before, mut found) = (HashSet::new(), Vec::new());
    for project in projects {
        let mut changes = Vec::new();
        for cl in project.cls() {
            let Some(owner) = cl.owner_id() else {
                continue;
            };
            if cl.created() <= since {
                before.insert(owner);
            } else if cohort.contains(&owner) {
                changes.push((owner, cl.status() == Status::Merged));
            }
        }
        found.push((project.full_name(), changes));
    }
    let mut projects = Vec::new();
    for (project, changes) in found {
        let count =
            |good: &dyn Fn(&(i64, bool)) -> bool| changes.iter().filter(|c| good(c)).count();
        let is_new = |owner: i64| !before.contains(&owner);
        let counted = CohortProject {
            project: project.to_owned(),
            opened: changes.len(),
            merged: count(&|c| c.1),
            opened_by_new: count(&|c| is_new(c.0)),
            merged_by_new: count(&|c| is_new(c.0) && c.1),
        };
        if counted.opened_by_new > 0 {
            projects.push(counted);
        }
    }
    projects.sort_unstable_by(|a, b| a.project.cmp(&b.project));
    projects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_of_the_calendar() {
        for (seconds, quarter) in [
            (0, "1970q1"),
            (-1, "1969q4"),
            (951_782_400, "2000q1"),
            (1_585_699_199, "2020q1"),
            (1_585_699_200, "2020q2"),
            (1_608_717_600, "2020q4"),
            (1_609_459_200, "2021q1"),
        ] {
            assert_eq!(quarter_of(UnixTime::new(seconds)), quarter);
        }
    }
}
