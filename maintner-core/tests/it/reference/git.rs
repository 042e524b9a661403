//! Commits.

use maintner_core::dump::{CommitLine, Line, text_hash};
use maintner_core::pb::{GitCommit, GitDiffTreeFile};

use super::Reference;

pub(super) type Hash = [u8; 20];

pub(super) struct Commit {
    pub(super) tree: Hash,
    pub(super) parents: Vec<Hash>,
    pub(super) author: Person,
    pub(super) committer: Person,
    pub(super) message: Vec<u8>,
    pub(super) files: Vec<GitDiffTreeFile>,
}

pub(super) struct Person {
    pub(super) name: Vec<u8>,
    pub(super) time: i64,
    zone: String,
}

impl Reference {
    /// Takes in a commit; whether it made sense.
    pub(super) fn apply_commit(&mut self, logged: &GitCommit) -> bool {
        let Some((hash, commit)) = parse_hash(logged.sha1.as_bytes()).zip(Commit::parse(logged))
        else {
            self.skip();
            return false;
        };
        for parent in &commit.parents {
            self.commits.entry(*parent).or_default();
        }
        self.commits.insert(hash, Some(commit));
        true
    }
}

impl Commit {
    fn parse(logged: &GitCommit) -> Option<Self> {
        let raw = &logged.raw;
        let split = raw.windows(2).position(|pair| pair == b"\n\n")?;
        let (header, message) = (&raw[..split], &raw[split + 2..]);
        let (mut tree, mut author, mut committer) = (None, None, None);
        let mut parents = Vec::new();
        for line in header.split(|&b| b == b'\n') {
            if let Some(value) = line.strip_prefix(b"tree ") {
                tree = Some(parse_hash(value)?);
            } else if let Some(value) = line.strip_prefix(b"parent ") {
                parents.push(parse_hash(value)?);
            } else if let Some(value) = line.strip_prefix(b"author ") {
                author = Some(Person::parse(value));
            } else if let Some(value) = line.strip_prefix(b"committer ") {
                committer = Some(Person::parse(value));
            }
        }
        let mut files = logged
            .diff_tree
            .as_ref()
            .map(|tree| tree.file.clone())
            .unwrap_or_default();
        files.sort_by(|a, b| a.file.cmp(&b.file));
        Some(Self {
            tree: tree?,
            parents,
            author: author?,
            committer: committer?,
            message: message.to_vec(),
            files,
        })
    }

    /// The same files with the same counts.
    pub(super) fn same_diff_stat(&self, other: &Self) -> bool {
        self.files == other.files
    }

    pub(super) fn line(&self, hash: &Hash) -> Line<'_> {
        Line::Commit(CommitLine {
            author: lossy(&self.author.name),
            author_time: self.author.time,
            author_tz: &self.author.zone,
            committer: lossy(&self.committer.name),
            committer_time: self.committer.time,
            committer_tz: &self.committer.zone,
            files: self
                .files
                .iter()
                .map(|f| (f.file.as_str(), f.added, f.deleted, f.binary))
                .collect(),
            hash: hex::encode(hash),
            msg_sha256: text_hash(&self.message),
            parents: self.parents.iter().map(hex::encode).collect(),
            tree: hex::encode(self.tree),
        })
    }
}

impl Person {
    /// A date that makes no sense is none.
    fn parse(line: &[u8]) -> Self {
        Self::dated(line).unwrap_or_else(|| {
            let end = line
                .iter()
                .rposition(|&b| b == b'>')
                .map_or(line.len(), |at| at + 1);
            Self {
                name: line[..end].trim_ascii().to_vec(),
                time: 0,
                zone: String::new(),
            }
        })
    }

    fn dated(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let (rest, zone) = line.trim_ascii_end().rsplit_once(' ')?;
        let (name, time) = rest.rsplit_once(' ')?;
        let digits = zone.strip_prefix(['+', '-'])?;
        let good_zone = digits.len() >= 4 && digits.bytes().all(|b| b.is_ascii_digit());
        let time = time.parse().ok()?;
        good_zone.then(|| Self {
            name: name.trim_ascii().as_bytes().to_vec(),
            time,
            zone: zone.to_owned(),
        })
    }

    /// What stands between `<` and `>`.
    pub(super) fn email(&self) -> String {
        let name = lossy(&self.name);
        let after = name.split_once('<').map_or("", |(_, after)| after);
        after
            .split_once('>')
            .map_or("", |(email, _)| email)
            .to_owned()
    }
}

pub(super) fn parse_hash(text: &[u8]) -> Option<Hash> {
    let mut hash = [0; 20];
    hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
}

pub(super) fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
