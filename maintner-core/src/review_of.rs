//! From a commit to the change under which it is, or was, reviewed.
//!
//! ```
//! # let corpus = maintner_core::sample::corpus();
//! use maintner_core::review_of::ByCommit;
//!
//! let view = corpus.view();
//! let changes = ByCommit::of(&view);
//! let change = changes.change(&view, maintner_core::sample::TIP).expect("it is a patch set");
//! assert!(change.url.ends_with(&format!("/+/{}", change.number)));
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::query::{Cl, HEAD_SEEN, Issue, Message, UnixTime};
use crate::{GitHash, View};

/// Where pull requests are: a corpus does not say of which GitHub it is.
const GITHUB: &str = "https://github.com";
/// Hosts whose review server is another one.
const GOOGLE: &str = ".googlesource.com";
/// What the message of a merged pull request begins with.
const MERGED: &str = "Merge pull request #";

/// A pull request of GitHub, or a change of Gerrit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where people read it.
    pub url: String,
    /// Its number in its repository, or on its server.
    pub number: i32,
    /// Its title, or the subject of its newest patch set.
    pub title: String,
    /// Who made it: a user of GitHub, or a name.
    pub author: Option<String>,
    /// Who has reviewed it, in the order in which they did first; never its author.
    pub reviewers: Vec<String>,
}

/// Owner and name, or server and project.
type Names = (String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Pull(Arc<Names>, i32),
    Cl(Arc<Names>, i32),
}

/// The changes of a view by the hashes of their commits: patch sets, heads, and what they were
/// merged as.
#[derive(Debug, Clone, Default)]
pub struct ByCommit {
    /// When it was said that a commit is of a change decides between several.
    places: HashMap<GitHash, (Option<UnixTime>, Place)>,
}

impl ByCommit {
    /// The changes of a view. Reads all pull requests and changes.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let mut all = Self::default();
        for repo in view.github().repos() {
            let names = Arc::new((repo.owner().to_owned(), repo.name().to_owned()));
            for pull in repo.issues().only_pull_requests() {
                all.add_pull(&pull, &names);
            }
        }
        for project in view.gerrit().projects() {
            let names = Arc::new((project.server().to_owned(), project.name().to_owned()));
            for cl in project.cls() {
                for patch_set in cl.patch_sets() {
                    let place = Place::Cl(names.clone(), cl.number());
                    all.add(patch_set.commit().hash(), Some(cl.created()), place);
                }
            }
        }
        all
    }

    fn add_pull(&mut self, pull: &Issue<'_>, names: &Arc<Names>) {
        let mut add = |hash: &str, time| {
            if let Ok(hash) = hash.parse() {
                self.add(hash, time, Place::Pull(names.clone(), pull.number()));
            }
        };
        for review in pull.reviews() {
            add(review.commit_id(), review.created());
        }
        for event in pull.events() {
            // Others name commits that only speak of it.
            if ["merged", "head_ref_force_pushed", HEAD_SEEN].contains(&event.event_type()) {
                let commit = event.stored().commit();
                add(commit.map_or("", |c| c.commit_id()), event.created());
            }
        }
    }

    fn add(&mut self, hash: GitHash, time: Option<UnixTime>, place: Place) {
        let known = self.places.get(&hash);
        if known.is_none_or(|(before, _)| *before <= time) {
            self.places.insert(hash, (time, place));
        }
    }

    /// How many commits are known to be of a change.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no commit is known to be of a change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The change that a commit is of. `view` is the one that this was made of, or a later one.
    #[must_use]
    pub fn change(&self, view: &View, commit: GitHash) -> Option<Change> {
        let (_, place) = self.places.get(&commit)?;
        match place {
            Place::Pull(names, number) => {
                let repo = view.github().try_repo(&names.0, &names.1)?;
                repo.try_issue(*number).map(|pull| of_pull(&pull))
            }
            Place::Cl(names, number) => {
                let project = view.gerrit().project(&names.0, &names.1).ok()?;
                project.try_cl(*number).map(|cl| of_cl(&cl))
            }
        }
    }
}

/// The pull request that the subject of a commit names as GitHub writes it when it merges:
/// `Merge pull request #7 from …`, or `TITLE (#7)`. It is one of the repository at `origin`, an
/// address; of the only repository there is, when `origin` is not one of GitHub's.
#[must_use]
pub fn named_by(view: &View, subject: &str, origin: &str) -> Option<Change> {
    let (number, title) = match subject.strip_prefix(MERGED) {
        Some(rest) => (rest.split(' ').next()?, None),
        None => {
            let (title, rest) = subject.trim_end().rsplit_once(" (#")?;
            (rest.strip_suffix(')')?, Some(title))
        }
    };
    let number: i32 = number.parse().ok()?;
    let mut repos = view.github().repos();
    let repo = match path_of(origin) {
        Some((owner, name)) => view.github().try_repo(owner, name),
        None => repos.next().filter(|_| repos.next().is_none()),
    }?;
    let pull = repo.try_issue(number).filter(Issue::is_pull_request)?;
    // A number in brackets may be of an issue, and of an open one too.
    let is_it = title.is_none_or(|title| pull.is_closed() || pull.title() == title);
    is_it.then(|| of_pull(&pull))
}

/// Owner and name in the address of a repository on a host.
fn path_of(origin: &str) -> Option<(&str, &str)> {
    let path = match origin.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?.1,
        // As ssh writes it: git@github.com:octo/app.git
        None => {
            let (host, path) = origin.split_once(':')?;
            (!host.contains('/')).then_some(path)?
        }
    };
    let path = path.trim_matches('/');
    let (owner, name) = path.strip_suffix(".git").unwrap_or(path).split_once('/')?;
    (!owner.is_empty() && !name.is_empty()).then_some((owner, name))
}

fn of_pull(pull: &Issue<'_>) -> Change {
    let repo = pull.repo();
    let author = pull.author().map(|user| user.login().to_owned());
    let mut reviewers = Vec::new();
    for reviewer in pull.reviews().filter_map(|review| review.reviewer()) {
        add(
            reviewer.login(),
            author.as_deref().unwrap_or(""),
            &mut reviewers,
        );
    }
    let (owner, name, number) = (repo.owner(), repo.name(), pull.number());
    Change {
        url: format!("{GITHUB}/{owner}/{name}/pull/{number}"),
        number,
        title: pull.title().to_owned(),
        author,
        reviewers,
    }
}

/// Adds a reviewer who is none of those and not the author.
fn add(name: &str, author: &str, to: &mut Vec<String>) {
    let name = name.trim();
    if !name.is_empty() && name != author && !to.iter().any(|known| known == name) {
        to.push(name.to_owned());
    }
}

fn of_cl(cl: &Cl<'_>) -> Change {
    let (server, project) = (cl.project().server(), cl.project().name());
    let host = match server.strip_suffix(GOOGLE) {
        Some(name) => format!("{name}-review{GOOGLE}"),
        None => server.to_owned(),
    };
    let author = cl.commit().author().name().to_owned();
    let mut reviewers = Vec::new();
    // A merged change says who they were; before, accounts have numbers, and mostly no names.
    for line in cl.commit().message().lines() {
        if let Some(name) = line.strip_prefix("Reviewed-by: ") {
            add(
                name.split(" <").next().unwrap_or(name),
                &author,
                &mut reviewers,
            );
        }
    }
    if reviewers.is_empty() {
        let votes = cl.votes();
        let reviews = votes
            .iter()
            .filter(|v| v.label() == "Code-Review" && v.value() != 0);
        for vote in reviews {
            let by = |message: &Message<'_>| message.author().email() == vote.voter();
            if let Some(message) = cl.messages().find(by) {
                add(message.author().name(), &author, &mut reviewers);
            }
        }
    }
    Change {
        url: format!("https://{host}/c/{project}/+/{}", cl.number()),
        number: cl.number(),
        title: cl.subject(),
        author: Some(author).filter(|name| !name.is_empty()),
        reviewers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::{
        BoolChange, GithubCommit, GithubIssueEvent, GithubIssueMutation, GithubReview, GithubUser,
        Mutation, Timestamp,
    };
    use crate::source::MemoryLog;
    use crate::{Corpus, Options, sample};

    fn user(id: i64, login: &str) -> Option<GithubUser> {
        let login = login.to_owned();
        Some(GithubUser { id, login })
    }

    fn time(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn review(id: i64, actor_id: i64, hash: GitHash) -> GithubReview {
        GithubReview {
            id,
            actor_id,
            created: time(1_500_000_000 + id),
            state: "APPROVED".to_owned(),
            commit_id: hash.to_string(),
            ..GithubReview::default()
        }
    }

    fn pull(number: i32, author: Option<GithubUser>) -> GithubIssueMutation {
        GithubIssueMutation {
            owner: "octo".to_owned(),
            repo: "app".to_owned(),
            number,
            user: author,
            created: time(1_500_000_000),
            title: format!("Change {number}"),
            pull_request: true,
            ..GithubIssueMutation::default()
        }
    }

    const HEAD: GitHash = GitHash::new([7; 20]);
    const MERGE: GitHash = GitHash::new([8; 20]);

    fn view() -> View {
        // Ann writes, Bob and Eve review; what is mentioned by 9 is not of it.
        let seven = GithubIssueMutation {
            closed: Some(BoolChange { val: true }),
            review: vec![review(1, 2, HEAD), review(2, 1, HEAD), review(3, 3, HEAD)],
            event: vec![GithubIssueEvent {
                id: 11,
                event_type: "merged".to_owned(),
                actor_id: 2,
                created: time(1_500_000_100),
                commit: Some(GithubCommit {
                    commit_id: MERGE.to_string(),
                    ..GithubCommit::default()
                }),
                ..GithubIssueEvent::default()
            }],
            ..pull(7, user(1, "ann"))
        };
        let mut eight = seven.clone();
        (eight.number, eight.closed, eight.review) = (8, None, Vec::new());
        eight.event[0].event_type = "referenced".to_owned();
        eight.title = "Another".to_owned();
        let others = [pull(9, user(2, "bob")), pull(10, user(3, "eve"))];
        let all = [seven, eight].into_iter().chain(others);
        let mut all: Vec<_> = all
            .map(|issue| Mutation {
                github_issue: Some(issue),
                ..Mutation::default()
            })
            .collect();
        all.extend(sample::mutations());
        let corpus = Corpus::load(MemoryLog::of(&all), Options::default()).unwrap();
        corpus.view()
    }

    #[test]
    fn a_reviewed_head_and_a_merge_lead_to_their_pull_request() {
        let view = view();
        let all = ByCommit::of(&view);
        for hash in [HEAD, MERGE] {
            let change = all.change(&view, hash).unwrap();
            assert_eq!(change.url, "https://github.com/octo/app/pull/7");
            assert_eq!(change.author.as_deref(), Some("ann"));
            assert_eq!(change.reviewers, ["bob", "eve"]);
        }
        assert_eq!(all.change(&view, GitHash::new([9; 20])), None);
        let change = all.change(&view, sample::TIP).unwrap();
        assert_eq!(change.author.as_deref(), Some("Gopher"));
        assert!(!all.is_empty() && all.len() >= 3);
    }

    #[test]
    fn a_subject_names_a_pull_request_of_its_repository() {
        let view = view();
        let named =
            |subject: &str, origin: &str| named_by(&view, subject, origin).map(|change| change.url);
        let seven = Some("https://github.com/octo/app/pull/7".to_owned());
        for origin in [
            "https://github.com/octo/app",
            "https://token@github.com/octo/app.git",
            "ssh://git@github.com/octo/app/",
            "git@github.com:octo/app.git",
        ] {
            assert_eq!(named("Merge pull request #7 from ann/x", origin), seven);
            assert_eq!(named("Something else (#7)", origin), seven, "it is closed");
        }
        let origin = "https://github.com/octo/app";
        assert_eq!(named("Something else (#8)", origin), None, "it is open");
        assert!(named("Another (#8)", origin).is_some());
        for subject in [
            "",
            "(#7)",
            "x (#7",
            "x (#seven)",
            "x (#99)",
            "Merge pull request #",
        ] {
            assert_eq!(named(subject, origin), None, "{subject:?}");
        }
        assert_eq!(named("x (#7)", "https://github.com/octo/other"), None);
        // Of two repositories nobody knows which; this corpus has one of golang too.
        for origin in ["/srv/app", "file:///octo/app", "C:/x"] {
            assert_eq!(named("x (#7)", origin), None, "{origin}");
        }
    }
}
