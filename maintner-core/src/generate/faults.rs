//! Logs that a reader must survive: what real logs may hold besides the usual,
//! and what they must not.

use std::str::FromStr;

use super::rng::{Rng, Stream};
use crate::pb::{
    GerritMutation, GitCommit, GitRef, GithubIssueMutation, GithubLabel, GithubMutation, Mutation,
};

/// One kind of trouble in a generated log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The last record is cut short.
    TornTail,
    /// From the middle on the log is another one than without the fault.
    Fork,
    /// Some records carry fields of a future schema.
    UnknownFields,
    /// Some lists of numbers are written unpacked, in a second occurrence of
    /// the message.
    Unpacked,
    /// One record is larger than a segment.
    Huge,
    /// Some records hold a text that is no UTF-8.
    InvalidUtf8,
    /// Some commits name parents that never come.
    Placeholders,
    /// Some mutations are of the kind that the Go corpus does not survive.
    Unsafe,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::TornTail,
        Self::Fork,
        Self::UnknownFields,
        Self::Unpacked,
        Self::Huge,
        Self::InvalidUtf8,
        Self::Placeholders,
        Self::Unsafe,
    ];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::TornTail => "torn-tail",
            Self::Fork => "fork",
            Self::UnknownFields => "unknown-fields",
            Self::Unpacked => "unpacked",
            Self::Huge => "huge",
            Self::InvalidUtf8 => "invalid-utf8",
            Self::Placeholders => "placeholders",
            Self::Unsafe => "unsafe",
        }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

/// There is no fault of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown fault {0:?}; there are torn-tail, fork, unknown-fields, unpacked, huge, invalid-utf8, placeholders and unsafe"
)]
pub struct UnknownFault(String);

/// Changes serialised mutations.
pub(super) struct FaultMaker {
    rng: Rng,
    faults: Vec<Fault>,
}

impl FaultMaker {
    pub(super) fn new(seed: u64, faults: &[Fault]) -> Self {
        Self {
            rng: Rng::new(seed, Stream::Fault, 0),
            faults: faults.to_vec(),
        }
    }

    /// The bytes to log instead of `encoded`.
    pub(super) fn distort(&mut self, mut encoded: Vec<u8>) -> Vec<u8> {
        if self.hits(Fault::UnknownFields, 10_000) {
            // Field 100, a number, and field 101, some bytes.
            encoded.extend([0xa0, 0x06, 0x2a, 0xaa, 0x06, 0x03, 0xff, 0x00, 0x0a]);
        }
        if self.hits(Fault::Unpacked, 10_000) && encoded.first() == Some(&0x0a) {
            // A second github_issue { remove_label 7 remove_label 9 deleted_assignees 1037 }.
            encoded.extend([0x0a, 9, 0xb8, 0x01, 7, 0xb8, 0x01, 9, 0x58, 0x8d, 0x08]);
        }
        if self.hits(Fault::InvalidUtf8, 5_000) {
            // github { owner: not UTF-8 }
            encoded.extend([0x1a, 4, 0x0a, 2, 0xc3, 0x28]);
        }
        encoded
    }

    /// A mutation that no producer may write, now and then.
    pub(super) fn unsafe_mutation(rng: &mut Rng) -> Mutation {
        let repo = ("golang".to_owned(), "go".to_owned());
        match rng.below(5) {
            0 => Mutation {
                github_issue: Some(GithubIssueMutation {
                    owner: repo.0,
                    repo: repo.1,
                    number: 1_000_000 + i32::try_from(rng.below(1_000)).expect("below 1000"),
                    title: "no creation time".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            },
            1 => gerrit(|m| {
                m.refs.push(GitRef {
                    r#ref: "refs/heads/master".to_owned(),
                    sha1: "no hash".to_owned(),
                });
            }),
            2 => gerrit(|m| {
                let raw = b"tree 0123456789012345678901234567890123456789\n".to_vec();
                m.commits.push(GitCommit {
                    sha1: rng.hash(),
                    raw,
                    ..Default::default()
                });
            }),
            3 => Mutation {
                github: Some(GithubMutation {
                    owner: repo.0,
                    repo: repo.1,
                    labels: vec![GithubLabel {
                        id: 0,
                        name: "no id".to_owned(),
                    }],
                    ..Default::default()
                }),
                ..Default::default()
            },
            _ => gerrit(|m| {
                let tree = rng.hash();
                // Without a committer.
                let raw = format!("tree {tree}\nauthor A <a@b> 1 +0000\n\nmessage");
                m.commits.push(GitCommit {
                    sha1: rng.hash(),
                    raw: raw.into_bytes(),
                    ..Default::default()
                });
            }),
        }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn hits(&mut self, fault: Fault, ppm: u64) -> bool {
        self.has(fault) && self.rng.chance(ppm)
    }
}

fn gerrit(fill: impl FnOnce(&mut GerritMutation)) -> Mutation {
    let mut gerrit = GerritMutation {
        project: "go.googlesource.com/go".to_owned(),
        ..Default::default()
    };
    fill(&mut gerrit);
    Mutation {
        gerrit: Some(gerrit),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn distorted_records_are_what_they_claim() {
        let issue = Mutation {
            github_issue: Some(GithubIssueMutation::default()),
            ..Default::default()
        };
        let distorted = |fault| {
            let mut maker = FaultMaker::new(1, &[fault]);
            (0..10_000)
                .map(|_| maker.distort(issue.encode_to_vec()))
                .find(|bytes| *bytes != issue.encode_to_vec())
                .expect("one in a hundred is distorted")
        };
        assert_eq!(
            Mutation::decode(&distorted(Fault::UnknownFields)[..]),
            Ok(issue.clone())
        );
        let unpacked = Mutation::decode(&distorted(Fault::Unpacked)[..])
            .unwrap()
            .github_issue
            .unwrap();
        assert_eq!(
            (unpacked.remove_label, unpacked.deleted_assignees),
            (vec![7, 9], vec![1037])
        );
        assert!(Mutation::decode(&distorted(Fault::InvalidUtf8)[..]).is_err());
    }
}
