//! Commit objects as git writes them, and the files they touch.

use std::fmt::Write as _;

use super::rng::{Quantiles, Rng};
use super::text::Vocabulary;
use crate::pb::{GitCommit, GitDiffTree, GitDiffTreeFile};

/// Measured on two public histories of the Go project (`build` and `tools`).
const FILES: &Quantiles = &[
    (0, 1),
    (400, 1),
    (600, 2),
    (750, 3),
    (900, 7),
    (950, 11),
    (990, 22),
    (1000, 176),
];
const MESSAGE: &Quantiles = &[
    (0, 90),
    (100, 190),
    (250, 250),
    (500, 370),
    (750, 535),
    (900, 770),
    (950, 970),
    (990, 1550),
    (1000, 5800),
];
const CHANGED_LINES: &Quantiles = &[
    (0, 1),
    (100, 2),
    (250, 3),
    (500, 10),
    (750, 32),
    (900, 89),
    (950, 165),
    (990, 367),
    (1000, 2651),
];
const NAME_BYTES: &Quantiles = &[
    (0, 6),
    (100, 16),
    (250, 21),
    (500, 25),
    (750, 31),
    (900, 39),
    (950, 47),
    (990, 65),
    (1000, 190),
];

/// Who and when, for both person lines of a commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp<'a> {
    pub(super) author: &'a str,
    pub(super) committer: &'a str,
    pub(super) time: u64,
    pub(super) zone: &'a str,
}

/// The content of a commit object.
pub(super) fn raw(rng: &mut Rng, parents: &[&str], stamp: Stamp<'_>, message: &str) -> Vec<u8> {
    let mut raw = String::with_capacity(300 + message.len());
    writeln!(raw, "tree {}", rng.hash()).expect("writing to a String cannot fail");
    for parent in parents {
        writeln!(raw, "parent {parent}").expect("writing to a String cannot fail");
    }
    let Stamp {
        author,
        committer,
        time,
        zone,
    } = stamp;
    let committed = time + rng.skewed(86_400);
    write!(
        raw,
        "author {author} {time} {zone}\ncommitter {committer} {committed} {zone}\n"
    )
    .expect("writing to a String cannot fail");
    if rng.chance(30_000) {
        raw.push_str("gpgsig -----BEGIN PGP SIGNATURE-----\n \n ");
        for _ in 0..4 {
            raw.push_str(&rng.hash());
            raw.push_str("\n ");
        }
        raw.push_str("-----END PGP SIGNATURE-----\n");
    }
    raw.push('\n');
    raw.push_str(message);
    raw.into_bytes()
}

/// A commit as the log has it.
pub(super) fn commit(hash: String, raw: Vec<u8>, files: Vec<GitDiffTreeFile>) -> GitCommit {
    GitCommit {
        sha1: hash,
        raw,
        diff_tree: Some(GitDiffTree { file: files }),
    }
}

/// About how long the message of an ordinary commit is.
pub(super) fn message_bytes(rng: &mut Rng) -> usize {
    rng.quantile(MESSAGE) as usize
}

/// The file names of a project: new ones appear, old ones come again.
#[derive(Debug, Default)]
pub(super) struct FileNames {
    names: Vec<String>,
}

impl FileNames {
    /// The changed files of a commit, in git's order.
    pub(super) fn changed(
        &mut self,
        rng: &mut Rng,
        vocabulary: &Vocabulary,
    ) -> Vec<GitDiffTreeFile> {
        let count = rng.quantile(FILES);
        let mut names: Vec<String> = (0..count).map(|_| self.name(rng, vocabulary)).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| change(rng, name)).collect()
    }

    fn name(&mut self, rng: &mut Rng, vocabulary: &Vocabulary) -> String {
        if !self.names.is_empty() && !rng.chance(175_000) {
            let index = rng.skewed(self.names.len() as u64);
            return self.names[usize::try_from(index).expect("below the length")].clone();
        }
        let name = new_name(rng, vocabulary);
        self.names.push(name.clone());
        name
    }
}

fn new_name(rng: &mut Rng, vocabulary: &Vocabulary) -> String {
    let bytes = rng.quantile(NAME_BYTES) as usize;
    let mut name = String::from("src");
    while name.len() + 3 < bytes {
        name.push(if rng.chance(700_000) { '/' } else { '_' });
        name.extend(
            vocabulary
                .word(rng.index(4_000))
                .chars()
                .filter(char::is_ascii),
        );
    }
    name.push_str(".go");
    if rng.chance(3_000) {
        // What git prints for `é`.
        name = format!("\"{name}\\303\\251\"");
    }
    name
}

fn change(rng: &mut Rng, file: String) -> GitDiffTreeFile {
    let binary = rng.chance(5_000);
    let lines = if binary {
        0
    } else {
        i64::from(rng.quantile(CHANGED_LINES))
    };
    let added = rng.below(lines.cast_unsigned() + 1).cast_signed();
    GitDiffTreeFile {
        file,
        added,
        deleted: lines - added,
        binary,
    }
}
