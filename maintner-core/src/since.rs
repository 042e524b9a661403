//! What changed since a position of long ago, for readers that remember how far they were.
//!
//! [`crate::Changes`] serves those who follow without a break and remembers a few hundred
//! changes. A reader that keeps a [`Mark`] may come back after a year: what the log said since is
//! read from the log itself, which is mapped anyway.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::corpus::apply::State;
use crate::corpus::gerrit::RefKind;
use crate::log::{LogPosition, Records, Sha224Hex};
use crate::mutation::MutationView;
use crate::{GitHash, View};

/// So many bytes before a position tell one log from another.
const TAIL: u64 = 512;
/// Bytes of their hash that a mark keeps.
const CHECK: usize = 8;

/// A position in one particular log. In another log, or after this one was rewritten before that
/// position, it is not found again.
///
/// As text it is `POSITION-CHECK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    position: LogPosition,
    check: [u8; CHECK],
}

impl Mark {
    /// Where in the log it is.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// What identifies the log up to there: sixteen hexadecimal digits.
    pub fn log(&self) -> String {
        hex::encode(self.check)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position, self.log())
    }
}

/// A text is not a [`Mark`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a position and sixteen hexadecimal digits: {0:?}")]
pub struct BadMark(String);

impl FromStr for Mark {
    type Err = BadMark;

    fn from_str(text: &str) -> Result<Self, BadMark> {
        let parse = || {
            let (position, log) = text.split_once('-')?;
            let mut check = [0; CHECK];
            hex::decode_to_slice(log, &mut check).ok()?;
            let position = LogPosition::new(position.parse().ok()?);
            Some(Self { position, check })
        };
        parse().ok_or_else(|| BadMark(text.to_owned()))
    }
}

/// Something that a record spoke about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Touch {
    /// An issue or pull request.
    Issue {
        /// Account or organisation.
        owner: String,
        /// Repository name.
        repo: String,
        /// Its number.
        number: i32,
    },
    /// Labels or milestones of a repository on GitHub.
    Repo {
        /// Account or organisation.
        owner: String,
        /// Repository name.
        repo: String,
    },
    /// A change on a Gerrit server, perhaps one that is not complete yet.
    Cl {
        /// Host, slash, project.
        project: String,
        /// Its number.
        number: i32,
    },
    /// A branch, tag or other ref that was set or deleted.
    Ref {
        /// Host, slash, project.
        project: String,
        /// Its full name.
        name: String,
    },
    /// A commit.
    Commit(GitHash),
}

/// What one record of the log touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedRecord {
    /// The mark behind it.
    pub end: Mark,
    /// What it spoke about; nothing when it could not be read.
    pub touched: BTreeSet<Touch>,
}

/// What changed since a mark.
#[derive(Debug, Clone)]
pub struct Since {
    /// Records that touch something, in order.
    pub records: Vec<TouchedRecord>,
    /// How far was looked.
    pub upto: Mark,
    /// Whether that is the end of the view.
    pub is_last: bool,
    /// Whether anything may be different, because the mark is not one of this log: `records` is
    /// empty, and `upto` the end of the view.
    pub is_reset: bool,
}

impl View {
    /// The mark at the end of this view.
    pub fn mark(&self) -> Mark {
        mark(self.state(), self.state().position)
    }

    /// What records behind `since` touched: at most `limit` records, and no more once they are
    /// `bytes` long. Without a mark, or with one that is not of this log, one answer says that
    /// anything may be different.
    ///
    /// Costs as much as what is read, however long the log is.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let mut since = view.since(None, 100, 1 << 20);
    /// assert!(since.is_reset);
    /// since = view.since(Some(&since.upto), 100, 1 << 20);
    /// assert!(since.is_last && since.records.is_empty());
    /// ```
    pub fn since(&self, since: Option<&Mark>, limit: usize, bytes: u64) -> Since {
        let state = self.state();
        let known = since.filter(|since| {
            let position = since.position.bytes();
            position <= state.position && mark(state, position) == **since
        });
        known
            .and_then(|since| read(state, since, limit.max(1), bytes))
            .unwrap_or_else(|| Since {
                records: Vec::new(),
                upto: self.mark(),
                is_last: true,
                is_reset: true,
            })
    }
}

/// The mark at a position that the state has reached.
fn mark(state: &State, position: u64) -> Mark {
    let mut tail = Vec::new();
    let mut from = position.saturating_sub(TAIL);
    while from < position {
        let (bytes, _) = state.log.from(from);
        let rest = usize::try_from(position - from).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(rest)];
        if bytes.is_empty() {
            break;
        }
        tail.extend_from_slice(bytes);
        from += bytes.len() as u64;
    }
    let hash = Sha224Hex::of(&tail);
    let mut check = [0; CHECK];
    check.copy_from_slice(&hash.as_bytes()[..CHECK]);
    Mark {
        position: LogPosition::new(position),
        check,
    }
}

/// `None` when the mark is not between two records.
fn read(state: &State, since: &Mark, limit: usize, bytes: u64) -> Option<Since> {
    let begin = since.position.bytes();
    let mut position = begin;
    let mut records = Vec::new();
    'pieces: while position < state.position {
        let (base, piece) = piece(state, position)?;
        let piece_start = position;
        let reader = Records::at(piece, piece_start - base);
        for record in reader {
            if records.len() == limit || position > begin && position - begin >= bytes {
                break 'pieces;
            }
            let record = record.ok()?;
            position = base + record.header().end();
            let touched = touched(record.payload());
            if !touched.is_empty() {
                let end = mark(state, position);
                records.push(TouchedRecord { end, touched });
            }
        }
    }
    Some(Since {
        records,
        upto: mark(state, position),
        is_last: position == state.position,
        is_reset: false,
    })
}

/// What the segment that holds `position` has from there on, as far as it is in one piece, and
/// where the segment begins.
fn piece(state: &State, position: u64) -> Option<(u64, &[u8])> {
    let next = state.segments.partition_point(|&base| base <= position);
    let base = *state.segments.get(next.checked_sub(1)?)?;
    let end = state.segments.get(next).copied().unwrap_or(u64::MAX);
    let (bytes, _) = state.log.from(position);
    let end = end.min(state.position) - position;
    let len = bytes.len().min(usize::try_from(end).unwrap_or(usize::MAX));
    (len > 0).then(|| (base, &bytes[..len]))
}

fn touched(payload: &[u8]) -> BTreeSet<Touch> {
    // What cannot be read has touched nothing: the corpus counts it among its anomalies.
    let Ok(mutation) = MutationView::parse(payload) else {
        return BTreeSet::new();
    };
    let mut touched = BTreeSet::new();
    if let Some(issue) = mutation.github_issue() {
        touched.insert(Touch::Issue {
            owner: issue.owner().to_owned(),
            repo: issue.repo().to_owned(),
            number: issue.number(),
        });
    }
    if let Some(github) = mutation.github() {
        touched.insert(Touch::Repo {
            owner: github.owner().to_owned(),
            repo: github.repo().to_owned(),
        });
    }
    let commit = |sha1: &str| sha1.parse().ok().map(Touch::Commit);
    let of_git = mutation.git().and_then(|git| git.commit());
    touched.extend(of_git.and_then(|of| commit(of.sha1())));
    if let Some(gerrit) = mutation.gerrit() {
        let project = gerrit.project();
        touched.extend(gerrit.commits().filter_map(|of| commit(of.sha1())));
        let set: Vec<&str> = gerrit.refs().map(|of| of.reference()).collect();
        let refs = set.into_iter().chain(gerrit.deleted_refs());
        touched.extend(refs.map(|name| of_ref(project, name)));
    }
    touched
}

fn of_ref(project: &str, name: &str) -> Touch {
    let project = project.to_owned();
    match RefKind::of(name.as_bytes()) {
        RefKind::Meta(number) | RefKind::PatchSet(number, _) => Touch::Cl { project, number },
        _ => Touch::Ref {
            project,
            name: name.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{MemoryLog, MutationSink};
    use crate::{Corpus, Options, pb, sample};

    fn issue(number: i32) -> pb::Mutation {
        pb::Mutation {
            github_issue: Some(pb::GithubIssueMutation {
                owner: "golang".into(),
                repo: "go".into(),
                number,
                id: i64::from(number),
                ..pb::GithubIssueMutation::default()
            }),
            ..pb::Mutation::default()
        }
    }

    fn numbers(since: &Since) -> Vec<i32> {
        let touched = since.records.iter().flat_map(|record| &record.touched);
        let number = |touch: &Touch| match touch {
            Touch::Issue { number, .. } => Some(*number),
            _ => None,
        };
        touched.filter_map(number).collect()
    }

    fn corpus_of(mutations: &[pb::Mutation]) -> (MemoryLog, Corpus) {
        let log = MemoryLog::of(mutations);
        let corpus = Corpus::load(log.clone(), Options::default()).unwrap();
        (log, corpus)
    }

    #[test]
    fn far_more_than_what_is_remembered_comes_page_by_page() {
        let (mut log, corpus) = corpus_of(&[issue(1)]);
        let mut mark = corpus.view().mark();
        for number in 2..1_000 {
            log.append_mutations(&[issue(number)]).unwrap();
            if number % 100 == 0 {
                corpus.update().unwrap();
            }
        }
        corpus.update().unwrap();
        let view = corpus.view();
        let mut found = Vec::new();
        loop {
            let since = view.since(Some(&mark), 64, 1 << 20);
            assert!(!since.is_reset && since.records.len() <= 64);
            found.extend(numbers(&since));
            mark = since.upto;
            if since.is_last {
                break;
            }
        }
        assert_eq!(found, (2..1_000).collect::<Vec<_>>());
        assert_eq!(mark, view.mark());
    }

    #[test]
    fn a_reader_may_stand_behind_every_record() {
        let (_, corpus) = corpus_of(&sample::mutations());
        let view = corpus.view();
        let begin = mark(view.state(), 0);
        let all = view.since(Some(&begin), 100, u64::MAX);
        assert!(all.is_last && !all.is_reset);
        for (nth, record) in all.records.iter().enumerate() {
            let rest = view.since(Some(&record.end), 100, u64::MAX);
            assert_eq!(rest.records, all.records[nth + 1..]);
        }
        let last = &all.records.last().unwrap().touched;
        let project = "go.googlesource.com/go".to_owned();
        let name = "refs/heads/master".to_owned();
        assert!(last.contains(&Touch::Commit(sample::TIP)));
        assert!(last.contains(&Touch::Cl {
            project: project.clone(),
            number: 14_700
        }));
        assert!(last.contains(&Touch::Ref { project, name }));
        assert_eq!(
            view.since(Some(&begin), 100, 1).records.len(),
            1,
            "one always fits"
        );
    }

    #[test]
    fn segments_and_times_in_between_make_no_difference() {
        let dir = tempfile::tempdir().unwrap();
        let open = || crate::log::LogWriter::open(dir.path()).unwrap();
        open().append_mutations(&[issue(1), issue(2)]).unwrap();
        let mark = Corpus::open(dir.path()).unwrap().view().mark();
        let mut writer = open();
        for number in 3..40 {
            writer.append_mutations(&[issue(number)]).unwrap();
        }
        drop(writer);
        let text = mark.to_string();
        let corpus = Corpus::open(dir.path()).unwrap();
        let since = corpus
            .view()
            .since(Some(&text.parse().unwrap()), 100, u64::MAX);
        assert_eq!(numbers(&since), (3..40).collect::<Vec<_>>());
    }

    #[test]
    fn after_a_split_one_answer_says_that_anything_may_differ() {
        let (_, old) = corpus_of(&[issue(1), issue(2), issue(3)]);
        let (_, new) = corpus_of(&[issue(1), issue(4), issue(5), issue(6)]);
        let view = new.view();
        let since = view.since(Some(&old.view().mark()), 100, u64::MAX);
        assert!(since.is_reset && since.records.is_empty());
        assert!(!view.since(Some(&since.upto), 100, u64::MAX).is_reset);
        let (_, short) = corpus_of(&[issue(1)]);
        assert!(short.view().since(Some(&view.mark()), 1, 1).is_reset);
    }

    #[test]
    fn marks_are_text() {
        for bad in [
            "",
            "7",
            "7-",
            "-0011223344556677",
            "7-001122334455667",
            "7-0011223344556677x",
        ] {
            assert!(bad.parse::<Mark>().is_err(), "{bad}");
        }
        let mark: Mark = "7-0011223344556677".parse().unwrap();
        assert_eq!(
            (mark.position().bytes(), mark.log().as_str()),
            (7, "0011223344556677")
        );
    }
}
