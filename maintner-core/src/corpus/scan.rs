//! The first half of loading: one piece of the log read into flat operations.
//!
//! Nothing here depends on the corpus, so pieces are scanned in parallel and ahead of time.

use std::ops::Range;

use super::anomaly::{Anomalies, Anomaly};
use super::commits::{CommitParts, FileRow, LocalHash, LocalHashes, parse_commit};
use super::gerrit::RefKind;
use super::github::{SharedOp, SharedSink};
use super::intern::LocalNames;
use super::text::{Locator, TextRef, Texts};
use crate::GitHash;
use crate::log::{HeaderParse, RecordError, RecordHeader, Records};
use crate::mutation::{
    DecodeError, DiffTreeView, GerritMutationView, GitCommitView, GithubMutationView, IssueKey,
    MutationView,
};

/// A run of whole records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Where in the log it starts.
    pub(crate) position: u64,
    /// Bytes.
    pub(crate) len: usize,
    /// Where in its file it starts: records say so themselves.
    pub(crate) offset: u64,
}

impl Unit {
    /// Cuts the unit into runs of about `size` bytes. A cut is made where a header names its own
    /// offset; should a text imitate that, the runs do not join up and the caller notices.
    pub(crate) fn split(self, texts: &Texts, size: usize) -> Vec<Self> {
        let (bytes, _) = texts.from(self.position);
        let bytes = &bytes[..self.len.min(bytes.len())];
        let mut cuts = vec![0];
        let mut next = size;
        while let Some(cut) = boundary(bytes, next, self.offset) {
            cuts.push(cut);
            next = cut + size;
        }
        cuts.push(bytes.len());
        let unit = |pair: &[usize]| Self {
            position: self.position + pair[0] as u64,
            len: pair[1] - pair[0],
            offset: self.offset + pair[0] as u64,
        };
        cuts.windows(2).map(unit).collect()
    }

    pub(crate) fn end(self) -> u64 {
        self.position + self.len as u64
    }
}

/// The first place at or after `from` where a header names its own offset.
fn boundary(bytes: &[u8], from: usize, offset: u64) -> Option<usize> {
    memchr::memmem::find_iter(bytes.get(from..)?, b"REC@")
        .map(|at| from + at)
        .find(|&at| {
            let parsed = RecordHeader::parse(&bytes[at..], offset + at as u64, u64::MAX);
            matches!(parsed, Ok(HeaderParse::Complete(_)))
        })
}

/// A commit as found in the log. Hashes, names and projects are numbers local to the piece.
#[derive(Debug)]
pub(crate) struct ScannedCommit {
    pub(crate) hash: u32,
    pub(crate) raw: TextRef,
    pub(crate) parts: CommitParts<u32>,
    pub(crate) project: Option<u32>,
    pub(crate) parents: Range<usize>,
    pub(crate) files: Range<usize>,
}

/// A ref set or deleted.
#[derive(Debug)]
pub(crate) struct RefOp {
    pub(crate) project: u32,
    pub(crate) name: TextRef,
    pub(crate) change: RefChange,
}

/// What happens to a ref.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RefChange {
    Delete,
    /// The local number of the target, and whether the piece named that commit before.
    Set(RefKind, (u32, bool)),
}

/// A record about an issue; its content is read again when it is applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IssueOp {
    pub(crate) repo: u32,
    pub(crate) number: i32,
    /// Where the record's payload is.
    pub(crate) position: u64,
    pub(crate) len: u32,
}

/// Everything found in one piece of the log, each kind in log order.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Position after the last whole record.
    pub(crate) end: u64,
    /// Why reading stopped before the end of the unit.
    pub(crate) stop: Option<RecordError>,
    pub(crate) records: u64,
    pub(crate) anomalies: Anomalies,
    /// Distinct names with their hashes, projects and (owner, repository) pairs.
    pub(crate) names: Vec<(TextRef, u64)>,
    pub(crate) projects: Vec<TextRef>,
    pub(crate) repos: Vec<(TextRef, TextRef)>,
    /// Distinct hashes.
    pub(crate) hashes: Vec<LocalHash>,
    pub(crate) commits: Vec<ScannedCommit>,
    pub(crate) parents: Vec<u32>,
    pub(crate) files: Vec<FileRow>,
    pub(crate) refs: Vec<RefOp>,
    pub(crate) issues: Vec<IssueOp>,
    /// Labels and milestones of repositories, which are local numbers.
    pub(crate) shared: Vec<SharedOp>,
}

/// Reads one unit.
pub(crate) fn scan(texts: &Texts, unit: Unit, max_payload: u64) -> Scanned {
    let (bytes, locator) = texts.from(unit.position);
    let bytes = &bytes[..unit.len.min(bytes.len())];
    let mut scanner = Scanner {
        out: Scanned {
            end: unit.position,
            ..Scanned::default()
        },
        locator,
        hashes: LocalHashes::default(),
        names: LocalNames::default(),
        recent: [None; 4],
        projects: LocalNames::default(),
        repos: Vec::new(),
        files: Vec::new(),
        parents: Vec::new(),
    };
    for record in Records::at(bytes, unit.offset).max_payload(max_payload) {
        match record {
            Ok(record) => {
                let position = scanner.out.end + record.header().header_len();
                scanner.out.end = unit.position + record.header().end() - unit.offset;
                scanner.record(position, record.payload());
            }
            Err(error) => scanner.out.stop = Some(error),
        }
    }
    scanner.finish()
}

/// How much was found so far.
struct Mark {
    anomalies: Anomalies,
    commits: usize,
    parents: usize,
    files: usize,
    refs: usize,
    issues: usize,
    shared: usize,
    projects: usize,
    repos: usize,
}

struct Scanner<'a> {
    out: Scanned,
    locator: Locator<'a>,
    hashes: LocalHashes,
    names: LocalNames<'a>,
    /// Names and zones of the commit before, which are often the same.
    recent: [Option<(&'a [u8], u32)>; 4],
    projects: LocalNames<'a>,
    repos: Vec<(&'a [u8], &'a [u8])>,
    /// Scratch: files of one commit with their names.
    files: Vec<(&'a [u8], FileRow)>,
    /// Scratch: parents of one commit.
    parents: Vec<GitHash>,
}

impl<'a> Scanner<'a> {
    fn finish(mut self) -> Scanned {
        self.out.hashes = self.hashes.into_list();
        let locate = |name| self.locator.locate(name);
        let names = self.names.into_list().into_iter();
        self.out.names = names.map(|(name, key)| (locate(name), key)).collect();
        let projects = self.projects.into_list().into_iter();
        self.out.projects = projects.map(|(name, _)| locate(name)).collect();
        let pair = |&(owner, repo): &(&[u8], &[u8])| {
            let locator = &self.locator;
            (locator.locate(owner), locator.locate(repo))
        };
        self.out.repos = self.repos.iter().map(pair).collect();
        self.out
    }

    /// The parts of a record, in the order in which they are applied; `position` is the one of
    /// its payload and orders what records say.
    fn record(&mut self, position: u64, payload: &'a [u8]) {
        self.out.records += 1;
        if let Some(key) = IssueKey::peek(payload)
            && (self.repos.contains(&(key.owner, key.repo)) || key.is_text())
        {
            self.issue(position, key, payload.len());
            return;
        }
        let mark = self.mark();
        let whole = self.parts(position, payload).is_ok();
        self.hashes.end_record(whole);
        if !whole {
            self.reset(mark);
            self.out.anomalies.count(Anomaly::UndecodableRecord);
        }
    }

    /// Commits and refs, nearly all of the log, are checked as they are taken; on an error the
    /// caller takes them back.
    fn parts(&mut self, position: u64, payload: &'a [u8]) -> Result<(), DecodeError> {
        let mut mutation = MutationView::outline(payload)?;
        if mutation.github_issue().is_some() || mutation.github().is_some() {
            mutation = MutationView::parse(payload)?;
        }
        if let Some(issue) = mutation.github_issue() {
            let (owner, repo) = (issue.owner.bytes(), issue.repo.bytes());
            let number = issue.number();
            self.issue(
                position,
                IssueKey {
                    owner,
                    repo,
                    number,
                },
                payload.len(),
            );
        }
        if let Some(github) = mutation.github() {
            self.github(position, github);
        }
        if let Some(git) = mutation.git()
            && let Some(commit) = git.commit()
        {
            self.commit(commit, None)?;
        }
        match mutation.gerrit() {
            Some(gerrit) if gerrit.project.bytes().is_empty() => {
                self.out.anomalies.count(Anomaly::VoidMutation);
                MutationView::parse(payload).map(drop)
            }
            Some(gerrit) => self.gerrit(gerrit),
            None => Ok(()),
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            anomalies: self.out.anomalies,
            commits: self.out.commits.len(),
            parents: self.out.parents.len(),
            files: self.out.files.len(),
            refs: self.out.refs.len(),
            issues: self.out.issues.len(),
            shared: self.out.shared.len(),
            projects: self.projects.len(),
            repos: self.repos.len(),
        }
    }

    /// Takes back what was found since the mark. Names may stay: nobody asks for all of them.
    fn reset(&mut self, mark: Mark) {
        let out = &mut self.out;
        out.anomalies = mark.anomalies;
        out.commits.truncate(mark.commits);
        out.parents.truncate(mark.parents);
        out.files.truncate(mark.files);
        out.refs.truncate(mark.refs);
        out.issues.truncate(mark.issues);
        out.shared.truncate(mark.shared);
        self.projects.truncate(mark.projects);
        self.repos.truncate(mark.repos);
    }

    /// A local number; a piece names few repositories.
    fn repo(&mut self, owner: &'a [u8], repo: &'a [u8]) -> Option<u32> {
        if owner.is_empty() || repo.is_empty() {
            self.out.anomalies.count(Anomaly::VoidMutation);
            return None;
        }
        let known = self.repos.iter().position(|&pair| pair == (owner, repo));
        let number = known.unwrap_or_else(|| {
            self.repos.push((owner, repo));
            self.repos.len() - 1
        });
        u32::try_from(number).ok()
    }

    fn issue(&mut self, position: u64, key: IssueKey<'a>, len: usize) {
        let Some(repo) = self.repo(key.owner, key.repo) else {
            return;
        };
        if key.number == 0 {
            self.out.anomalies.count(Anomaly::VoidMutation);
            return;
        }
        let len = u32::try_from(len).expect("the reader refuses longer records");
        self.out.issues.push(IssueOp {
            repo,
            number: key.number,
            position,
            len,
        });
    }

    fn github(&mut self, position: u64, github: &GithubMutationView<'a>) {
        let Some(repo) = self.repo(github.owner.bytes(), github.repo.bytes()) else {
            return;
        };
        let mut sink = SharedSink::new(self.locator, position, &mut self.out.shared);
        github.labels().for_each(|label| sink.label(repo, &label));
        github
            .milestones()
            .for_each(|milestone| sink.milestone(repo, &milestone));
        let skipped = sink.skipped();
        (0..skipped).for_each(|_| self.out.anomalies.count(Anomaly::ZeroId));
    }

    fn gerrit(&mut self, gerrit: &GerritMutationView<'a>) -> Result<(), DecodeError> {
        let project = self.projects.number(gerrit.project.bytes());
        for commit in gerrit.check_commits() {
            self.commit(&commit?, Some(project))?;
        }
        for name in gerrit.check_deleted_refs() {
            self.reference(project, name?.bytes(), RefChange::Delete);
        }
        for reference in gerrit.check_refs() {
            let reference = reference?;
            let name = reference.reference.bytes();
            let target = GitHash::from_hex(reference.sha1.bytes());
            match (RefKind::of(name), target) {
                (_, Some(_)) if name.is_empty() => self.out.anomalies.count(Anomaly::BadRef),
                (RefKind::Impossible, _) | (_, None) => self.out.anomalies.count(Anomaly::BadRef),
                (RefKind::Ignored, Some(_)) => {}
                (kind, Some(target)) => {
                    let target = self.hashes.target(target);
                    self.reference(project, name, RefChange::Set(kind, target));
                }
            }
        }
        Ok(())
    }

    fn reference(&mut self, project: u32, name: &[u8], change: RefChange) {
        let name = self.locator.locate(name);
        self.out.refs.push(RefOp {
            project,
            name,
            change,
        });
    }

    fn commit(
        &mut self,
        commit: &GitCommitView<'a>,
        project: Option<u32>,
    ) -> Result<(), DecodeError> {
        self.read_files(commit)?;
        self.parents.clear();
        let hash = GitHash::from_hex(commit.sha1.bytes());
        let parts = parse_commit(commit.raw(), &mut self.parents);
        let raw = self.locator.locate(commit.raw());
        let (Some(hash), Some(parts), false) = (hash, parts, raw.is_none()) else {
            self.out.anomalies.count(Anomaly::BadCommit);
            return Ok(());
        };
        let hash = self.hashes.name(hash);
        let first_parent = self.out.parents.len();
        let parents = self.parents.iter();
        let parents = parents.map(|&parent| self.hashes.name(parent));
        self.out.parents.extend(parents);
        let (names, mut recent) = (&mut self.names, self.recent.iter_mut());
        let parts = parts.map(|name| match recent.next() {
            Some(Some((known, number))) if *known == name => *number,
            Some(recent) => recent.insert((name, names.number(name))).1,
            None => names.number(name),
        });
        let first_file = self.out.files.len();
        let rows = self.files.iter();
        let rows = rows.map(|(name, row)| row.with_name(self.names.number(name)));
        self.out.files.extend(rows);
        self.out.commits.push(ScannedCommit {
            hash,
            raw,
            parts,
            project,
            parents: first_parent..self.out.parents.len(),
            files: first_file..self.out.files.len(),
        });
        Ok(())
    }

    /// Collects the files of a commit, sorted by name and not yet named.
    fn read_files(&mut self, commit: &GitCommitView<'a>) -> Result<(), DecodeError> {
        self.files.clear();
        let tree = commit.diff_tree();
        for file in tree.into_iter().flat_map(DiffTreeView::check_files) {
            let file = file?;
            let row = FileRow::new(0, file.added(), file.deleted(), file.binary());
            self.files.push((file.file.bytes(), row));
        }
        self.files.sort_by_key(|(name, _)| *name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::text::Piece;
    use crate::log::encode_record;

    /// A log of `count` empty records, with a text that imitates a header.
    fn log(count: usize) -> Texts {
        let mut bytes = Vec::new();
        for n in 0..count {
            let payload = if n == 5 { &b"\x7a\x07REC@0+0"[..] } else { b"" };
            let offset = bytes.len() as u64;
            encode_record(&mut bytes, offset, payload);
        }
        let mut texts = Texts::default();
        texts.push(Piece::Held(bytes.into()));
        texts
    }

    #[test]
    fn units_join_up() {
        let texts = log(1_000);
        let whole = Unit {
            position: 0,
            len: texts.end() as usize,
            offset: 0,
        };
        let units = whole.split(&texts, 100);
        assert!(units.len() > 10);
        let mut position = 0;
        for unit in &units {
            assert_eq!(unit.position, position);
            let scanned = scan(&texts, *unit, u64::MAX);
            assert_eq!((scanned.end, scanned.stop), (unit.end(), None));
            position = unit.end();
        }
        assert_eq!(position, texts.end());
    }

    #[test]
    fn a_torn_tail_ends_the_scan_with_its_reason() {
        let texts = log(10);
        let unit = Unit {
            position: 0,
            len: texts.end() as usize - 3,
            offset: 0,
        };
        let scanned = scan(&texts, unit, u64::MAX);
        assert_eq!(scanned.records, 9);
        assert!(scanned.stop.is_some_and(|stop| stop.is_truncated()));
    }
}
