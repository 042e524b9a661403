//! The `.git` of a checkout: some commits whole, more of them by name, and their tags.
//!
//! A step sees `depth` commits with their files, large ones of earlier commits left out. `git describe` needs the commits down to the
//! nearest tag as well, however far it is: those come without their files (as a partial clone
//! has them), so that a long history is never copied.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use build_core::ids::CommitHash;
use build_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

use super::git::{Git, text};
use super::last_packs::LastPacks;
use super::repo::Repo;

/// Packs what there is as it is: looking for deltas in fifty commits of large files takes a
/// minute, and the checkout is compressed as a whole anyway.
/// Nothing waits for the disk either: a checkout is thrown away once it is packed.
const AS_IT_IS: [&str; 6] = [
    "-c",
    "pack.window=0",
    "-c",
    "pack.compression=0",
    "-c",
    "core.fsync=none",
];
/// Files of earlier commits that are larger are left out: hundreds of megabytes of history
/// would be copied and compressed for one commit of it.
const LARGE_FILES: &str = "--filter=blob:limit=1m";
/// Commits that are looked at for one that is taken: histories have branches.
const LOOK_AHEAD: u32 = 20;

/// A repository made for a checkout, at `target`.
pub(super) struct History<'a> {
    from: &'a Repo,
    target: &'a Path,
    commit: &'a CommitHash,
    packs: &'a LastPacks,
    /// Reads the repository, and the pack that was made for it last; writes at `target`.
    git: Git,
    /// Read by `git`, and not to be deleted before.
    _last: Option<Arc<TempDir>>,
}

struct Tag {
    /// The whole ref.
    name: Vec<u8>,
    object: String,
    commit: String,
}

/// What `git replace` has made of an object.
struct Replacement {
    object: String,
    by: String,
}

/// Refs that matter to a checkout.
#[derive(Default)]
struct Refs {
    tags: Vec<Tag>,
    replaced: Vec<Replacement>,
}

impl Tag {
    fn is_annotated(&self) -> bool {
        self.object != self.commit
    }
}

impl<'a> History<'a> {
    /// The history of `commit` in `from`, to be made at `target`.
    pub(super) fn new(
        from: &'a Repo,
        target: &'a Path,
        commit: &'a CommitHash,
        packs: &'a LastPacks,
    ) -> Self {
        let last = packs.of(&from.git_dir);
        let theirs = from.git_dir.join("objects");
        let stores: Vec<_> = last
            .iter()
            .map(|dir| dir.path())
            .chain([&*theirs])
            .collect();
        Self {
            git: from.git.storing_in(&target.join(".git/objects"), &stores),
            from,
            target,
            commit,
            packs,
            _last: last,
        }
    }

    /// Makes the repository, with `depth` commits and what `git describe` needs.
    pub(super) async fn make(&self, depth: u32) -> Result<()> {
        let depth = depth.max(1);
        self.init().await?;
        let (listed, refs) = futures::try_join!(self.commits(depth), self.refs())?;
        let present = self.take(depth, &listed, &refs.replaced).await?;
        if !refs.tags.is_empty() {
            let known = self.deepen(present).await?;
            self.copy_tags(&refs.tags, &known).await?;
        }
        Ok(())
    }

    /// What `git init` makes, without the process.
    async fn init(&self) -> Result<()> {
        let git = self.target.join(".git");
        let config = match self.commit.as_str().len() {
            64 => format!("{CONFIG_SHA256}{CONFIG}"),
            _ => format!("{CONFIG_SHA1}{CONFIG}"),
        };
        let made = blocking(move || {
            for dir in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
                std::fs::create_dir_all(git.join(dir))?;
            }
            std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n")?;
            std::fs::write(git.join("config"), config)
        });
        made.await
            .map_err(|e| e.while_doing(format!("make a repository in {}", self.target.display())))
    }

    /// Asks the repository that is read.
    async fn run(&self, args: &[&str], input: &str) -> Result<Vec<u8>> {
        let from = self.from.place();
        let ran = self.git.run_with(from, args, input.as_bytes()).await;
        ran.map_err(|e| e.while_doing(format!("ask repository {}", from.display())))
    }

    /// The newest commits with their parents, a line each.
    async fn commits(&self, depth: u32) -> Result<String> {
        let most = format!("--max-count={}", depth.saturating_mul(LOOK_AHEAD));
        let args = ["rev-list", "--parents", &most, self.commit.as_str()];
        let listed = self.run(&args, "").await?;
        Ok(String::from_utf8_lossy(&listed).into_owned())
    }

    /// Copies `depth` of the listed commits with all their files; the answer is those commits.
    async fn take(
        &self,
        depth: u32,
        listed: &str,
        replaced: &[Replacement],
    ) -> Result<BTreeSet<String>> {
        let commit = self.commit.as_str();
        let part = Part::of(listed, commit, depth);
        let commits: Vec<_> = part.commits.iter().map(String::as_str).collect();
        let flags = [LARGE_FILES, "--filter-print-omitted", "--missing=print"];
        let listed = self.objects_of(&commits, &flags);
        // Omitted ones are marked by a tilde; those that a partial clone lacks by a question mark:
        // nobody asks its remote for them unless they are of this commit.
        let (omitted, mut objects): (BTreeSet<String>, _) = listed
            .await?
            .into_iter()
            .partition(|line| line.starts_with(['~', '?']));
        if !omitted.is_empty() {
            objects.extend(self.objects_of(&[commit], &[]).await?);
        }
        let mine = |r: &&Replacement| objects.contains(&r.object);
        let mine: Vec<_> = replaced.iter().filter(mine).collect();
        objects.extend(mine.iter().map(|r| r.by.clone()));
        self.write_replaced(&mine).await?;
        let objects: Vec<_> = objects.into_iter().collect();
        let pack = self.copy_objects(&objects).await?;
        self.keep(&pack).await;
        if !omitted.is_empty() {
            self.mark_partial(&pack).await?;
        }
        self.write_shallow(part.ends, &part.commits).await?;
        Ok(part.commits)
    }

    /// Keeps the pack for the next checkout, which is slower without.
    async fn keep(&self, pack: &str) {
        let (packs, name) = (self.packs.clone(), pack.to_owned());
        let from = self.from.git_dir.clone();
        let objects = self.target.join(".git/objects");
        let kept = blocking(move || packs.keep(&from, &objects, &name)).await;
        if let Err(error) = kept {
            tracing::debug!(error = error.chain(), "a pack is not kept");
        }
    }

    async fn refs(&self) -> Result<Refs> {
        let format = "--format=%(objectname) %(*objectname) %(refname)";
        let listed = self
            .from
            .run(&["for-each-ref", format, "refs/tags", "refs/replace"])
            .await?;
        let mut refs = Refs::default();
        for line in listed.split(|&byte| byte == b'\n') {
            let words: Vec<&[u8]> = line.splitn(3, |&byte| byte == b' ').collect();
            let [object, peeled, name] = words[..] else {
                continue;
            };
            let hash = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let object = hash(object);
            match name.strip_prefix(b"refs/replace/") {
                Some(replaced) => refs.replaced.push(Replacement {
                    object: hash(replaced),
                    by: object,
                }),
                None => refs.tags.push(Tag {
                    name: name.to_owned(),
                    commit: match peeled {
                        b"" => object.clone(),
                        peeled => hash(peeled),
                    },
                    object,
                }),
            }
        }
        Ok(refs)
    }

    /// Replaces in the checkout what is replaced in the repository: git sees both the same way.
    async fn write_replaced(&self, replaced: &[&Replacement]) -> Result<()> {
        if replaced.is_empty() {
            return Ok(());
        }
        let dir = self.target.join(".git/refs/replace");
        tokio::fs::create_dir_all(&dir).await?;
        for Replacement { object, by } in replaced {
            write(&dir.join(object), &format!("{by}\n")).await?;
        }
        Ok(())
    }

    /// Adds the commits down to the nearest tags, without their files.
    async fn deepen(&self, present: BTreeSet<String>) -> Result<BTreeSet<String>> {
        let mut known = present.clone();
        for flags in [&["--tags"][..], &[]] {
            let args = [&["describe", "--abbrev=0"], flags, &[self.commit.as_str()]].concat();
            // One whose name is no text cannot be asked about; it is copied where its commit is.
            let tag = self.from.ask(&args).await?;
            if let Some(tag) = tag.filter(|tag| !tag.contains(char::REPLACEMENT_CHARACTER)) {
                known.extend(self.down_to(&format!("refs/tags/{tag}")).await?);
            }
        }
        let missing: Vec<_> = known.difference(&present).cloned().collect();
        if !missing.is_empty() {
            let pack = self.copy_objects(&missing).await?;
            self.mark_partial(&pack).await?;
            self.mark_shallow(&known).await?;
        }
        Ok(known)
    }

    /// Every commit that counts when the distance from a tag is taken: what is not before the
    /// tag, and enough of what is before it to see that it is.
    async fn down_to(&self, tag: &str) -> Result<BTreeSet<String>> {
        let commit = self.commit.as_str();
        let not_tag = format!("^{tag}");
        let range = self
            .from
            .run(&["rev-list", "--boundary", commit, &not_tag])
            .await?;
        let edge: Vec<_> = lines(&range).into_iter().filter_map(edge_of).collect();
        let tagged = format!("{tag}^{{commit}}");
        let mut args = vec!["merge-base", "--octopus", tagged.as_str()];
        args.extend(edge.iter().map(String::as_str));
        let Some(base) = self.from.ask(&args).await? else {
            return Ok(strip(&range));
        };
        let not_base = format!("^{base}");
        let wide = self
            .from
            .run(&["rev-list", "--boundary", commit, &tagged, &not_base])
            .await?;
        let mut all = strip(&wide);
        all.insert(base);
        Ok(all)
    }

    /// Copies objects as a pack of their own; the answer is its name.
    async fn copy_objects(&self, objects: &[String]) -> Result<String> {
        let prefix = self.target.join(".git/objects/pack/pack");
        let prefix = prefix.to_string_lossy();
        let pack = ["pack-objects", "--quiet", "--delta-base-offset", &prefix];
        let args = [&AS_IT_IS[..], &pack].concat();
        let input = objects.join("\n") + "\n";
        Ok(text(&self.run(&args, &input).await?))
    }

    /// What commits consist of, without what is behind them.
    async fn objects_of(&self, commits: &[&str], flags: &[&str]) -> Result<BTreeSet<String>> {
        let list = ["rev-list", "--objects", "--no-object-names"];
        let these = ["--no-walk=unsorted", "--stdin"];
        let args = [&list[..], &these, flags].concat();
        let input = commits.join("\n") + "\n";
        Ok(lines(&self.run(&args, &input).await?))
    }

    /// Tells git that objects which those of a pack name were left out on purpose.
    async fn mark_partial(&self, pack: &str) -> Result<()> {
        let place = self.target.join(".git/objects/pack");
        write(&place.join(format!("pack-{pack}.promisor")), "").await?;
        append(&self.target.join(".git/config"), PARTIAL).await
    }

    /// Commits whose parents are not here are the new end of history.
    async fn mark_shallow(&self, known: &BTreeSet<String>) -> Result<()> {
        let args = ["rev-list", "--parents", "--no-walk=unsorted", "--stdin"];
        let input: Vec<_> = known.iter().map(String::as_str).collect();
        let input = input.join("\n") + "\n";
        let listed = self.run(&args, &input).await?;
        let listed = String::from_utf8_lossy(&listed);
        let is_cut = |line: &&str| {
            line.split(' ')
                .skip(1)
                .any(|parent| !known.contains(parent))
        };
        let cut = listed
            .lines()
            .filter(is_cut)
            .filter_map(|line| line.split(' ').next());
        self.write_shallow(cut.map(str::to_owned).collect(), known)
            .await
    }

    /// Writes down where the history ends, among the commits that are `known`.
    async fn write_shallow(
        &self,
        mut ends: BTreeSet<String>,
        known: &BTreeSet<String>,
    ) -> Result<()> {
        // Where the history of the origin itself ends.
        if let Ok(origin) = tokio::fs::read_to_string(self.from.git_dir.join("shallow")).await {
            ends.extend(
                origin
                    .lines()
                    .filter(|end| known.contains(*end))
                    .map(str::to_owned),
            );
        }
        let file = self.target.join(".git/shallow");
        let lines: String = ends.iter().map(|end| format!("{end}\n")).collect();
        match lines.is_empty() {
            false => write(&file, &lines).await,
            true => remove(&file).await,
        }
    }

    async fn copy_tags(&self, tags: &[Tag], known: &BTreeSet<String>) -> Result<()> {
        let here: Vec<_> = tags
            .iter()
            .filter(|tag| known.contains(&tag.commit))
            .collect();
        let annotated = here.iter().filter(|tag| tag.is_annotated());
        let objects: Vec<_> = annotated.map(|tag| tag.object.clone()).collect();
        if !objects.is_empty() {
            self.copy_objects(&objects).await?;
        }
        // One file for all: of 20,000 tags each would be a file to make, pack, unpack and delete.
        write(&self.target.join(".git/packed-refs"), &packed(here)).await
    }
}

/// Tags as git writes refs in one file.
fn packed(mut tags: Vec<&Tag>) -> Vec<u8> {
    tags.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
    for tag in tags {
        text.extend_from_slice(tag.object.as_bytes());
        text.push(b' ');
        text.extend_from_slice(&tag.name);
        text.push(b'\n');
        if tag.is_annotated() {
            text.extend_from_slice(format!("^{}\n", tag.commit).as_bytes());
        }
    }
    text
}

/// The newest commits of a history.
struct Part {
    commits: BTreeSet<String>,
    /// Those of them whose parents are not among them.
    ends: BTreeSet<String>,
}

impl Part {
    /// What is at most `depth` commits away from `tip`, itself included, of a list of commits
    /// with their parents.
    fn of(listed: &str, tip: &str, depth: u32) -> Self {
        let words = listed.lines().map(|line| line.split(' '));
        let parents: HashMap<&str, Vec<&str>> = words
            .filter_map(|mut words| Some((words.next()?, words.collect())))
            .collect();
        let near = reach(&parents, tip, depth, &BTreeSet::new());
        let is_end = |commit: &&str| {
            let above = parents.get(commit).into_iter().flatten();
            above.into_iter().any(|parent| !near.contains(parent))
        };
        let ends: BTreeSet<&str> = near.iter().copied().filter(is_end).collect();
        // What is behind an end only is not reached any more.
        let commits = reach(&parents, tip, depth, &ends);
        let owned = |commit: &&str| (*commit).to_owned();
        Self {
            ends: ends.intersection(&commits).map(owned).collect(),
            commits: commits.iter().map(owned).collect(),
        }
    }
}

/// The listed commits within `depth` of `tip` that are not behind one of `ends`.
fn reach<'a>(
    parents: &HashMap<&'a str, Vec<&'a str>>,
    tip: &'a str,
    depth: u32,
    ends: &BTreeSet<&str>,
) -> BTreeSet<&'a str> {
    let (mut reached, mut edge) = (BTreeSet::from([tip]), vec![tip]);
    for _ in 1..depth {
        let open = edge.iter().filter(|commit| !ends.contains(*commit));
        let above = open.filter_map(|commit| parents.get(commit)).flatten();
        let listed = above.copied().filter(|parent| parents.contains_key(parent));
        edge = listed.filter(|parent| reached.insert(parent)).collect();
        if edge.is_empty() {
            break;
        }
    }
    reached
}

/// Tells git that what is missing was left out on purpose.
const PARTIAL: &str = "[core]\n\trepositoryformatversion = 1\n\
    [extensions]\n\tpartialClone = origin\n[remote \"origin\"]\n\tpromisor = true\n";

fn lines(listed: &[u8]) -> BTreeSet<String> {
    let listed = String::from_utf8_lossy(listed);
    listed.lines().map(str::to_owned).collect()
}

/// The hash of a line that `--boundary` marks.
fn edge_of(line: String) -> Option<String> {
    line.strip_prefix('-').map(str::to_owned)
}

fn strip(listed: &[u8]) -> BTreeSet<String> {
    let listed = String::from_utf8_lossy(listed);
    let hashes = listed.lines().map(|line| line.trim_start_matches('-'));
    hashes.map(str::to_owned).collect()
}

/// What `git init` writes, in two formats.
const CONFIG_SHA1: &str = "[core]\n\trepositoryformatversion = 0\n";
const CONFIG_SHA256: &str = "[extensions]\n\tobjectformat = sha256\n\
    [core]\n\trepositoryformatversion = 1\n";
const CONFIG: &str = "\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n";

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|e| Error::caused_by(ErrorKind::Bug, "work on files", e))?;
    Ok(done?)
}

async fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    let written = tokio::fs::write(path, text).await;
    written.map_err(|e| Error::from(e).while_doing(format!("write {}", path.display())))
}

async fn remove(path: &Path) -> Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from(e).while_doing(format!("remove {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Adds lines to a git configuration.
pub(super) async fn append(path: &Path, lines: &str) -> Result<()> {
    let mut text = match tokio::fs::read_to_string(path).await {
        Ok(text) => text,
        Err(error) => {
            let named = format!("read {}", path.display());
            return Err(Error::caused_by(ErrorKind::Unavailable, named, error));
        }
    };
    text.push_str(lines);
    write(path, &text).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(listed: &str, depth: u32) -> (String, String) {
        let part = Part::of(listed, "e", depth);
        let joined = |set: BTreeSet<String>| set.into_iter().collect::<String>();
        (joined(part.commits), joined(part.ends))
    }

    fn is(commits: &str, ends: &str) -> (String, String) {
        (commits.to_owned(), ends.to_owned())
    }

    #[test]
    fn tags_are_one_file_in_the_order_of_their_names() {
        let tag = |name: &[u8], object: &str, commit: &str| Tag {
            name: name.to_owned(),
            object: object.to_owned(),
            commit: commit.to_owned(),
        };
        let (light, signed) = (
            tag(b"refs/tags/v2", "c", "c"),
            tag(b"refs/tags/v1\xe9", "t", "c"),
        );
        let text = packed(vec![&light, &signed]);
        let lines: Vec<_> = text.split(|&byte| byte == b'\n').skip(1).collect();
        assert_eq!(
            lines,
            [&b"t refs/tags/v1\xe9"[..], b"^c", b"c refs/tags/v2", b""]
        );
    }

    #[test]
    fn a_part_of_a_line_ends_once() {
        let line = "e d\nd c\nc b\nb a\na\n";
        assert_eq!(part(line, 1), is("e", "e"));
        assert_eq!(part(line, 3), is("cde", "c"));
        assert_eq!(part(line, 5), is("abcde", ""));
        assert_eq!(part(line, 50), is("abcde", ""));
        // The list was cut.
        assert_eq!(part("e d\nd c\n", 50), is("de", "d"));
    }

    #[test]
    fn what_is_behind_an_end_alone_is_left_out() {
        // e merges d and c; d has b, c has a and b behind it.
        let merge = "e d c\nd b\nc a\nb\na\n";
        assert_eq!(part(merge, 2), is("cde", "cd"));
        assert_eq!(part(merge, 3), is("abcde", ""));
        // b is reached through d, whose other parent is too far away.
        let uneven = "e d\nd c b\nb\n";
        assert_eq!(part(uneven, 3), is("de", "d"));
    }
}
