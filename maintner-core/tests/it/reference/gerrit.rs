//! Refs and changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use maintner_core::dump::{ClLine, Dump, Line, MessageLine, text_hash};
use maintner_core::pb::GerritMutation;
use regex::bytes::Regex;

use super::Reference;
use super::git::{Commit, Hash, lossy, parse_hash};

type Commits = HashMap<Hash, Option<Commit>>;

static CHANGE_REF: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^refs/changes/[0-9a-f]{2}/([0-9]+)/(meta|\d+)"));
static ISSUE_REF: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:\b([\w-]+)/([\w-]+))?#(\d+)\b"));

#[derive(Default)]
pub(super) struct Project {
    refs: BTreeMap<String, Hash>,
    changes: BTreeMap<i32, Change>,
}

#[derive(Default)]
struct Change {
    patch_sets: BTreeMap<i32, Hash>,
    meta: Option<Hash>,
}

impl Reference {
    pub(super) fn apply_gerrit(&mut self, mutation: GerritMutation) {
        if mutation.project.is_empty() {
            return self.skip();
        }
        for commit in &mutation.commits {
            self.apply_commit(commit);
        }
        let mut skipped = 0;
        let project = self.projects.entry(mutation.project).or_default();
        for name in &mutation.deleted_refs {
            project.delete_ref(name);
        }
        for set in mutation.refs {
            let known =
                parse_hash(set.sha1.as_bytes()).filter(|hash| self.commits.contains_key(hash));
            let done = known.is_some_and(|hash| project.set_ref(set.r#ref, hash));
            skipped += u64::from(!done);
        }
        self.skipped += skipped;
    }
}

impl Project {
    fn delete_ref(&mut self, name: &str) {
        let Some(parts) = CHANGE_REF.captures(name.as_bytes()) else {
            self.refs.remove(name);
            return;
        };
        let change = parse_number(&parts[1]).and_then(|number| self.changes.get_mut(&number));
        let Some(change) = change else {
            return;
        };
        if &parts[2] == b"meta" {
            change.meta = None;
        } else if let Some(version) = parse_number(&parts[2]) {
            change.patch_sets.remove(&version);
        }
    }

    fn set_ref(&mut self, name: String, hash: Hash) -> bool {
        let Some(parts) = CHANGE_REF.captures(name.as_bytes()) else {
            if !name.starts_with("refs/meta/") {
                self.refs.insert(name, hash);
            }
            return true;
        };
        let Some(number) = parse_number(&parts[1]) else {
            return false;
        };
        if &parts[2] == b"meta" {
            self.changes.entry(number).or_default().meta = Some(hash);
            return true;
        }
        let Some(version) = parse_number(&parts[2]).filter(|v| *v > 0) else {
            return false;
        };
        let change = self.changes.entry(number).or_default();
        change.patch_sets.insert(version, hash);
        true
    }

    pub(super) fn dump(&self, dump: &mut Dump, project: &str, commits: &Commits) {
        for (name, hash) in &self.refs {
            dump.push(&Line::Ref {
                hash: hex::encode(hash),
                project,
                r#ref: name,
            });
        }
        for (number, change) in &self.changes {
            change.dump(dump, project, *number, commits);
        }
    }
}

impl Change {
    fn dump(&self, dump: &mut Dump, project: &str, number: i32, commits: &Commits) {
        let (Some((&version, &commit)), Some(metas)) =
            (self.patch_sets.last_key_value(), self.metas(commits))
        else {
            return;
        };
        let newest_first = || metas.iter().rev().map(|(_, meta)| *meta);
        let branch = newest_first()
            .find_map(|m| line_value(&m.message, b"Branch:"))
            .map(|v| v.0);
        let branch = lossy(branch.unwrap_or_default());
        let hashtags = newest_first().find_map(|m| line_value(footer(m), b"Hashtags: "));
        let hashtags = lossy(hashtags.map_or(b"", |v| v.0));
        let private = newest_first().find_map(|m| flag(footer(m), b"Private:"));
        let wip = newest_first().find_map(|m| flag(&m.message, b"Work-in-progress:"));
        let message = commits[&commit].as_ref().map_or(&b""[..], |c| &c.message);
        dump.push(&Line::Cl(ClLine {
            branch: branch.strip_prefix("refs/heads/").unwrap_or(&branch),
            commit: hex::encode(commit),
            created: metas[0].1.committer.time,
            hashtags: &hashtags,
            messages: metas
                .iter()
                .filter_map(|(_, meta)| message_of(meta))
                .collect(),
            metas: metas.iter().map(|(hash, _)| hex::encode(hash)).collect(),
            number,
            private: private.unwrap_or(false),
            project,
            refs: issue_refs(project, message).into_iter().collect(),
            status: newest_first().find_map(status).unwrap_or("new"),
            version,
            votes: votes(&metas, commits),
            wip: wip.unwrap_or(false),
        }));
    }

    /// The meta commits, oldest first; `None` when they are no line to a root.
    fn metas<'a>(&self, commits: &'a Commits) -> Option<Vec<(Hash, &'a Commit)>> {
        let mut metas = Vec::new();
        let mut next = Some(self.meta?);
        while let Some(hash) = next {
            let meta = commits.get(&hash)?.as_ref()?;
            if meta.parents.len() > 1 {
                return None;
            }
            metas.push((hash, meta));
            next = meta.parents.first().copied();
        }
        metas.reverse();
        Some(metas)
    }
}

fn status(meta: &Commit) -> Option<&'static str> {
    let start = find(&meta.message, b"\nStatus: ")? + b"\nStatus: ".len();
    let value = &meta.message[start..];
    ["merged", "abandoned", "draft", "new"]
        .into_iter()
        .find(|word| value.starts_with(word.as_bytes()))
}

fn flag(text: &[u8], key: &[u8]) -> Option<bool> {
    match line_value(text, key)?.0 {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn message_of(meta: &Commit) -> Option<MessageLine> {
    let text = &meta.message;
    let phrases: [&[u8]; 2] = [b"\nPatch Set ", b"\nUploaded patch set "];
    let (start, phrase) = phrases
        .iter()
        .filter_map(|phrase| Some((find(text, phrase)?, phrase)))
        .min_by_key(|f| f.0)?;
    let after = &text[start + phrase.len()..];
    let version = &after[..find(after, b":")?];
    if version.contains(&b'\n') || version.contains(&b'.') {
        return None;
    }
    let version = std::str::from_utf8(version).ok()?.parse().ok()?;
    let (footer, rest) = line_start(text, b"Patch-set:")?;
    if !rest.contains(&b'\n') {
        return None;
    }
    let said = text.get(start + 1..footer.checked_sub(2)?)?;
    Some(MessageLine {
        author: lossy(&meta.author.name),
        date: meta.committer.time,
        text_sha256: text_hash(said),
        version,
    })
}

fn votes(metas: &[(Hash, &Commit)], commits: &Commits) -> BTreeMap<String, BTreeMap<String, i8>> {
    let mut votes: BTreeMap<String, BTreeMap<String, i8>> = BTreeMap::new();
    let mut last_patch_set: Option<&Commit> = None;
    for (_, meta) in metas {
        let footer = footer(meta);
        if find(footer, b"\nTag: autogenerated:gerrit:newPatchSet\n").is_some()
            && let Some((hash, _)) = line_value(footer, b"Commit: ")
            && let Some(commit) = parse_hash(hash).and_then(|h| commits.get(&h)?.as_ref())
        {
            if last_patch_set.is_some_and(|last| !last.same_diff_stat(commit)) {
                votes.remove("Run-TryBot");
                votes.remove("TryBot-Result");
            }
            last_patch_set = Some(commit);
        }
        let mut rest = footer;
        while let Some((line, after)) = line_value(rest, b"Label: ") {
            vote(&mut votes, &lossy(line), &meta.author.email());
            rest = after;
        }
    }
    votes.retain(|_, voters| !voters.is_empty());
    votes
}

fn vote(votes: &mut BTreeMap<String, BTreeMap<String, i8>>, line: &str, author: &str) {
    let (what, who) = line.split_once(' ').unwrap_or((line, ""));
    let given = who
        .split_once('<')
        .and_then(|(_, after)| after.split_once('>'));
    let who = given.map_or(author, |(email, _)| email).to_owned();
    if let Some(label) = what.strip_prefix('-') {
        if let Some(voters) = votes.get_mut(label) {
            voters.remove(&who);
        }
        return;
    }
    let (label, value) = what.split_once('=').unwrap_or((what, ""));
    votes
        .entry(label.to_owned())
        .or_default()
        .insert(who, value.parse().unwrap_or(0));
}

fn issue_refs(project: &str, message: &[u8]) -> BTreeSet<String> {
    let Some(first) = message.iter().position(|&b| b == b'#') else {
        return BTreeSet::new();
    };
    let line = message[..first]
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |at| at + 1);
    ISSUE_REF
        .captures_iter(&message[line..])
        .filter_map(|found| {
            let number = parse_number(&found[3])?;
            match (found.get(1), found.get(2)) {
                (Some(owner), Some(repo)) => {
                    let repo = format!("{}/{}", lossy(owner.as_bytes()), lossy(repo.as_bytes()));
                    Some(format!("{}#{number}", repo.to_ascii_lowercase()))
                }
                _ => (project == "go.googlesource.com/go").then(|| format!("golang/go#{number}")),
            }
        })
        .collect()
}

/// The text after the last empty line.
fn footer(meta: &Commit) -> &[u8] {
    let start = memchr::memmem::rfind(&meta.message, b"\n\n");
    start.map_or(b"", |at| &meta.message[at + 2..])
}

/// Where a line that starts with `prefix` begins, and what follows the prefix.
fn line_start<'a>(text: &'a [u8], prefix: &[u8]) -> Option<(usize, &'a [u8])> {
    memchr::memmem::find_iter(text, prefix)
        .find(|&at| at == 0 || matches!(text[at - 1], b'\n' | b'\r'))
        .map(|at| (at, &text[at + prefix.len()..]))
}

/// The trimmed rest of the first line that starts with `prefix`, and what
/// follows that line.
fn line_value<'a>(text: &'a [u8], prefix: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (_, rest) = line_start(text, prefix)?;
    let end = rest.iter().position(|&b| b == b'\n');
    let (line, after) = end.map_or((rest, &b""[..]), |end| (&rest[..end], &rest[end + 1..]));
    Some((line.trim_ascii(), after))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

fn parse_number(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?-u:{pattern})")).expect("the pattern is valid")
}

/// The tables of the protocol.
#[cfg(test)]
mod tests {
    use super::*;

    fn meta(message: &str) -> Commit {
        let raw = format!(
            "tree {0}\nauthor A <1@x> 7 +0000\ncommitter C <c@x> 8 -0800\n\n{message}",
            "0".repeat(40)
        );
        let logged = maintner_core::pb::GitCommit {
            raw: raw.into_bytes(),
            sha1: "0".repeat(40),
            diff_tree: None,
        };
        let mut reference = Reference::default();
        assert!(reference.apply_commit(&logged));
        reference
            .commits
            .into_values()
            .flatten()
            .next()
            .expect("it was just applied")
    }

    #[test]
    fn references_in_texts() {
        let refs = |project: &str, text: &str| Vec::from_iter(issue_refs(project, text.as_bytes()));
        let go = "go.googlesource.com/go";
        let text = "Mention issue #1234 a second time.\n\nFixes #1234.\nUpdates #1235.";
        assert_eq!(refs(go, text), ["golang/go#1234", "golang/go#1235"]);
        assert!(refs("go.googlesource.com/net", "Fixes #1234").is_empty());
        assert_eq!(
            refs("go.googlesource.com/net", "Fixes golang/go#1234."),
            ["golang/go#1234"]
        );
        assert_eq!(refs(go, "see a/b.c#5"), ["golang/go#5"]);
        assert!(refs(go, "#12ab #99999999999").is_empty());
    }

    #[test]
    fn values_of_lines() {
        let value = |text: &'static str, key: &str| {
            line_value(text.as_bytes(), key.as_bytes()).map(|(v, rest)| (lossy(v), lossy(rest)))
        };
        let some = |v: &str, rest: &str| Some((v.to_owned(), rest.to_owned()));
        assert_eq!(value("foo:  value ", "foo:"), some("value", ""));
        assert_eq!(
            value("notfoo: other\nfoo:  value\n", "foo:"),
            some("value", "")
        );
        let votes = "Foo: bar\nLabel: Vote=+1\nLabel: Vote=+2\n";
        assert_eq!(value(votes, "Label: "), some("Vote=+1", "Label: Vote=+2\n"));
        assert_eq!(value("bar:\n", "foo:"), None);
    }

    #[test]
    fn messages_of_metas() {
        let said = |text: &str| message_of(&meta(text)).map(|m| (m.version, m.text_sha256));
        let hash = |text: &str| text_hash(text.as_bytes());
        assert_eq!(
            said(
                "Update patch set 1\n\nPatch Set 1: Code-Review+2\n\nHello\n\nPatch-set: 1\nLabel: Code-Review=+2\n"
            ),
            Some((1, hash("Patch Set 1: Code-Review+2\n\nHello")))
        );
        assert_eq!(
            said("Create change\n\nUploaded patch set 1: Run-TryBot+1.\n\nPatch-set: 1\n"),
            Some((1, hash("Uploaded patch set 1: Run-TryBot+1.")))
        );
        assert_eq!(
            said("Create change\n\nUploaded patch set 1.\n\nPatch-set: 1\n"),
            None
        );
        assert_eq!(
            said("x\n\nUploaded patch set 7.: Commit message was updated\n\nPatch-set: 7\n"),
            None
        );
        assert_eq!(said("Uploaded patch set 1.\n\nPatch-set: 1\n"), None);
    }

    #[test]
    fn votes_in_footers() {
        let mut votes = BTreeMap::new();
        for line in [
            "Run-TryBot=+1",
            "Other=x",
            "TryBot-Result=-1 Gobot Gobot <5976@62eb>",
            "-Run-TryBot",
        ] {
            vote(&mut votes, line, "me");
        }
        assert!(votes["Run-TryBot"].is_empty());
        assert_eq!(votes["Other"]["me"], 0);
        assert_eq!(votes["TryBot-Result"]["5976@62eb"], -1);
    }
}
