//! The `.git` of a checkout: some commits whole, more of them by name, and their tags.
//!
//! A step sees `depth` commits with all their files. `git describe` needs the commits down to the
//! nearest tag as well, however far it is: those come without their files (as a partial clone
//! has them), so that a long history is never copied.

use std::collections::BTreeSet;
use std::path::Path;

use build_core::ids::CommitHash;
use build_core::{Error, ErrorKind, Result};

use super::git::text;
use super::repo::Repo;

/// Packs what there is as it is: looking for deltas in fifty commits of large files takes a
/// minute, and the checkout is compressed as a whole anyway.
const UPLOAD_PACK: &str = "--upload-pack=git -c pack.window=0 -c pack.compression=0 upload-pack";

/// A repository made for a checkout, at `target`.
pub(super) struct History<'a> {
    pub(super) from: &'a Repo,
    pub(super) target: &'a Path,
    pub(super) commit: &'a CommitHash,
}

struct Tag {
    name: String,
    object: String,
    commit: String,
}

impl Tag {
    fn is_annotated(&self) -> bool {
        self.object != self.commit
    }
}

impl History<'_> {
    /// Makes the repository, with `depth` commits and what `git describe` needs.
    pub(super) async fn make(&self, depth: u32) -> Result<()> {
        self.init().await?;
        self.fetch(depth).await?;
        let tags = self.tags().await?;
        if !tags.is_empty() {
            let present = self.present().await?;
            let known = self.deepen(present).await?;
            self.copy_tags(&tags, &known).await?;
        }
        Ok(())
    }

    async fn here(&self, args: &[&str]) -> Result<Vec<u8>> {
        self.from.git.run(self.target, args).await
    }

    async fn init(&self) -> Result<()> {
        let format = match self.commit.as_str().len() {
            64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        };
        let branch = "--initial-branch=main";
        self.here(&["init", "--quiet", "--template=", branch, format])
            .await?;
        Ok(())
    }

    async fn fetch(&self, depth: u32) -> Result<()> {
        let depth = format!("--depth={}", depth.max(1));
        let from = self.from.git_dir.to_string_lossy();
        let flags = ["fetch", "--quiet", "--no-write-fetch-head", "--no-tags"];
        let what = [
            UPLOAD_PACK,
            depth.as_str(),
            "--",
            &from,
            self.commit.as_str(),
        ];
        self.here(&[&flags[..], &what].concat()).await?;
        Ok(())
    }

    async fn tags(&self) -> Result<Vec<Tag>> {
        let format = "--format=%(objectname) %(*objectname) %(refname)";
        let listed = self
            .from
            .run(&["for-each-ref", format, "refs/tags"])
            .await?;
        let listed = String::from_utf8_lossy(&listed);
        let tags = listed.lines().filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let (object, peeled, name) = (words.next()?, words.next()?, words.next()?);
            let commit = if peeled.is_empty() { object } else { peeled };
            Some(Tag {
                name: name.to_owned(),
                object: object.to_owned(),
                commit: commit.to_owned(),
            })
        });
        Ok(tags.collect())
    }

    async fn present(&self) -> Result<BTreeSet<String>> {
        let listed = self.here(&["rev-list", self.commit.as_str()]).await?;
        Ok(lines(&listed))
    }

    /// Adds the commits down to the nearest tags, without their files.
    async fn deepen(&self, present: BTreeSet<String>) -> Result<BTreeSet<String>> {
        let mut known = present.clone();
        for flags in [&["--tags"][..], &[]] {
            let args = [&["describe", "--abbrev=0"], flags, &[self.commit.as_str()]].concat();
            if let Some(tag) = self.from.ask(&args).await? {
                known.extend(self.down_to(&format!("refs/tags/{tag}")).await?);
            }
        }
        let missing: Vec<_> = known.difference(&present).cloned().collect();
        if !missing.is_empty() {
            let pack = self.copy_objects(&missing).await?;
            let path = self
                .target
                .join(format!(".git/objects/pack/pack-{pack}.promisor"));
            write(&path, "").await?;
            append(&self.target.join(".git/config"), PARTIAL).await?;
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
        let args = ["pack-objects", "--quiet", &prefix];
        let input = objects.join("\n") + "\n";
        let from = self.from.place();
        let printed = self
            .from
            .git
            .run_with(from, &args, input.as_bytes())
            .await?;
        Ok(text(&printed))
    }

    /// Commits whose parents are not here are the new end of history.
    async fn mark_shallow(&self, known: &BTreeSet<String>) -> Result<()> {
        let args = ["rev-list", "--parents", "--no-walk=unsorted", "--stdin"];
        let input: Vec<_> = known.iter().map(String::as_str).collect();
        let input = input.join("\n") + "\n";
        let from = self.from.place();
        let listed = self
            .from
            .git
            .run_with(from, &args, input.as_bytes())
            .await?;
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
        let mut ends: BTreeSet<String> = cut.map(str::to_owned).collect();
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
        let creations = here
            .iter()
            .map(|tag| format!("create {}\0{}\0", tag.name, tag.object));
        let input: String = creations.collect();
        let args = ["update-ref", "-z", "--stdin"];
        self.from
            .git
            .run_with(self.target, &args, input.as_bytes())
            .await?;
        Ok(())
    }
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

async fn write(path: &Path, text: &str) -> Result<()> {
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
