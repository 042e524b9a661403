//! The files of a commit, from git's objects into an archive, without a work tree on the disk.
//!
//! Nearly every file of nearly every commit is what its object holds, byte for byte. Writing a
//! thousand files, reading them back and deleting them is then most of the work. What git would
//! change on the way to the disk (by filters, line ends, `$Id$`), what it would fetch from
//! elsewhere (submodules) and what it might refuse (names) is left to `git checkout`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use build_core::buildlet::ByteStream;
use build_core::clock::Timestamp;
use build_core::ids::CommitHash;
use build_core::tarutil::{EntryHeader, GzipOptions, Modified, Pack, PargzipWriter};
use build_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

use super::git::{Git, LOCAL_TIMEOUT};
use super::index::{FileMode, NewIndex};
use super::pack::{stream_of, while_it_moves};
use super::repo::Repo;

/// Bytes read at a time.
const PIECE_BYTES: usize = 128 << 10;
/// Longest target of a symbolic link: more than any file system takes.
const MAX_TARGET: u64 = 64 << 10;
/// Attributes by which git changes files when it writes them, unless they are unset.
const CHANGING: [&[u8]; 3] = [b"filter", b"ident", b"working-tree-encoding"];
const CHANGING_VALUE: &[u8] = b"eol=crlf";

/// The files of a commit.
pub(super) struct PlainTree {
    files: Vec<PlainFile>,
}

struct PlainFile {
    path: Vec<u8>,
    mode: FileMode,
    /// Of its contents.
    object: String,
}

impl PlainTree {
    /// The files of `commit`; `None` when only `git checkout` knows what they become.
    pub(super) async fn of(repo: &Repo, commit: &CommitHash) -> Result<Option<Self>> {
        let args = ["ls-tree", "-r", "-z", "--full-tree", commit.as_str()];
        let listed = repo.run(&args).await?;
        let lines = listed.split(|&b| b == 0).filter(|line| !line.is_empty());
        let Some(files) = lines.map(PlainFile::parse).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        // As git sorts them: otherwise the tree is damaged, and git should say so.
        if !files.is_sorted_by(|a, b| a.path < b.path) {
            return Ok(None);
        }
        let tree = Self { files };
        let is_plain = !tree.changes_files(repo).await?;
        Ok(is_plain.then_some(tree))
    }

    /// Whether any `.gitattributes` has git change files.
    async fn changes_files(&self, repo: &Repo) -> Result<bool> {
        let is_attributes = |file: &&PlainFile| base(&file.path) == b".gitattributes";
        let attributes = self.files.iter().filter(is_attributes);
        let wanted: String = attributes
            .map(|file| format!("{}\n", file.object))
            .collect();
        if wanted.is_empty() {
            return Ok(false);
        }
        let args = ["cat-file", "--batch"];
        let contents = repo.git.run_with(repo.place(), &args, wanted.as_bytes());
        Ok(changes_files(&contents.await?))
    }

    /// Packs the files and the repository in `dir`, which has their objects and gets an index, as
    /// a gzip-compressed tar stream. Every file gets the time of the commit.
    pub(super) fn pack(
        self,
        git: &Git,
        dir: TempDir,
        commit: &CommitHash,
        time: Timestamp,
        options: GzipOptions,
    ) -> Result<ByteStream> {
        let mut reading = git.start_with(
            dir.path(),
            &["cat-file", "--batch", "--buffer"],
            self.wanted()?,
        )?;
        let output = reading.stdout.take().expect("the output is piped");
        let output = output.into_owned_fd()?;
        let head = commit.clone();
        let packed = stream_of(move |out| {
            let contents = BufReader::with_capacity(PIECE_BYTES, File::from(output));
            let packed = self.write(contents, dir.path(), &head, time, &options, out);
            packed.map_err(|e| Error::caused_by(ErrorKind::Unavailable, "pack a commit", e))
        });
        Ok(while_it_moves(packed, LOCAL_TIMEOUT, reading))
    }

    /// A file that asks for the contents of each file.
    fn wanted(&self) -> io::Result<File> {
        let mut wanted = io::BufWriter::new(tempfile::tempfile()?);
        for file in &self.files {
            writeln!(wanted, "{}", file.object)?;
        }
        let mut wanted = wanted.into_inner()?;
        wanted.seek(SeekFrom::Start(0))?;
        Ok(wanted)
    }

    fn write(
        &self,
        contents: impl BufRead,
        dir: &Path,
        head: &CommitHash,
        time: Timestamp,
        options: &GzipOptions,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        std::thread::scope(|scope| {
            let mut gzip = PargzipWriter::new(scope, out, options)?;
            let index = self.write_files(contents, NewIndex::new(head, time), time, &mut gzip)?;
            let git_dir = dir.join(".git");
            std::fs::write(git_dir.join("index"), index)?;
            std::fs::write(git_dir.join("HEAD"), format!("{head}\n"))?;
            Pack::open(dir)?
                .write_tar(&mut gzip)
                .map_err(io::Error::other)?;
            gzip.finish().map(drop)
        })
    }

    /// Writes an entry for each file; the answer is the index of them.
    fn write_files(
        &self,
        mut contents: impl BufRead,
        mut index: NewIndex,
        time: Timestamp,
        out: &mut impl Write,
    ) -> io::Result<Vec<u8>> {
        let modified = Modified {
            seconds: time.as_seconds(),
            nanos: 0,
        };
        for file in &self.files {
            let size = next_size(&mut contents, &file.object)?;
            let content = contents.by_ref().take(size);
            match file.mode {
                FileMode::Link => link(&file.path, content)?
                    .modified(modified)
                    .write(io::empty(), out)?,
                mode => EntryHeader::file(&*file.path, size)
                    .mode(mode.permissions())
                    .modified(modified)
                    .write(content, out)?,
            }
            let mut end = [0];
            contents.read_exact(&mut end)?;
            index.add(&file.path, file.mode, &file.object, size)?;
        }
        Ok(index.finish())
    }
}

impl PlainFile {
    /// Reads a line of `git ls-tree`: mode, kind and object, a tab, the path.
    fn parse(line: &[u8]) -> Option<Self> {
        let tab = line.iter().position(|&b| b == b'\t')?;
        let (about, path) = (std::str::from_utf8(&line[..tab]).ok()?, &line[tab + 1..]);
        let mut words = about.split(' ');
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        let is_file = words.next()? == "blob";
        let file = Self {
            path: path.to_vec(),
            mode: FileMode::of(mode)?,
            object: words.next()?.to_owned(),
        };
        (is_file && is_plain(path)).then_some(file)
    }
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or_default()
}

/// Whether git takes a path on every system: what looks like `.git` to any of them it may refuse.
fn is_plain(path: &[u8]) -> bool {
    let odd = |part: &[u8]| {
        let lower = part.to_ascii_lowercase();
        let after = lower.strip_prefix(b".git").map(|rest| rest.first());
        matches!(&*lower, b"" | b"." | b"..")
            || lower.starts_with(b"git~")
            || after.is_some_and(|next| !next.is_some_and(u8::is_ascii_alphanumeric))
    };
    !path.contains(&b'\\') && !path.split(|&b| b == b'/').any(odd)
}

/// Whether a text of attributes has git change files. It may say so without need.
fn changes_files(attributes: &[u8]) -> bool {
    let words = attributes.split(u8::is_ascii_whitespace);
    words.into_iter().any(|word| {
        let name = word.split(|&b| b == b'=').next().unwrap_or_default();
        CHANGING.contains(&name) || word == CHANGING_VALUE
    })
}

/// Reads the line before an object's contents: its name, kind and size.
fn next_size(contents: &mut impl BufRead, object: &str) -> io::Result<u64> {
    let mut line = String::new();
    contents.by_ref().take(256).read_line(&mut line)?;
    let size = line
        .strip_prefix(object)
        .and_then(|rest| rest.strip_prefix(" blob "))
        .and_then(|size| size.trim_end().parse().ok());
    size.ok_or_else(|| {
        let text = format!("git has no contents of {object}: {:?}", line.trim_end());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

fn link(path: &[u8], content: io::Take<impl Read>) -> io::Result<EntryHeader> {
    if content.limit() > MAX_TARGET {
        let text = format!("{} is too long a link", String::from_utf8_lossy(path));
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let (mut content, mut target) = (content, Vec::new());
    content.read_to_end(&mut target)?;
    Ok(EntryHeader::symlink(path, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_may_refuse_are_left_to_git() {
        for plain in [
            "a",
            "a/b",
            ".gitignore",
            ".github/x",
            "é",
            "...",
            "a/.gitmodules",
            "git",
        ] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
        for odd in [
            "",
            "a//b",
            ".",
            "a/..",
            ".git",
            "a/.GIT/b",
            ".git ",
            ".git.",
            ".git::$x",
            "GIT~1",
            "a\\b",
            "/a",
            ".git\u{200c}",
        ] {
            assert!(!is_plain(odd.as_bytes()), "{odd}");
        }
    }

    #[test]
    fn attributes_that_change_files_are_seen() {
        for plain in [
            "",
            "* text=auto\n",
            "*.c diff=cpp linguist-generated",
            "* -text -filter",
            "*.x eol=lf",
            "*.p binary",
        ] {
            assert!(!changes_files(plain.as_bytes()), "{plain}");
        }
        for changing in [
            "* filter=lfs",
            "*.bat\teol=crlf",
            "[attr]x ident",
            "*.c ident\r\n",
            "a working-tree-encoding=UTF-16",
        ] {
            assert!(changes_files(changing.as_bytes()), "{changing}");
        }
    }

    #[test]
    fn lines_of_a_listing_are_read_and_what_is_no_file_is_not() {
        let id = "0123456789012345678901234567890123456789";
        let parse = |line: String| PlainFile::parse(line.as_bytes());
        let file = parse(format!("100755 blob {id}\td/run\n.sh")).unwrap();
        assert_eq!((&*file.path, &*file.object), (&b"d/run\n.sh"[..], id));
        assert!(parse(format!("160000 commit {id}\tsub")).is_none());
        assert!(parse(format!("100644 blob {id}\t.git")).is_none());
        assert!(parse("100644 blob".into()).is_none());
    }

    #[test]
    fn an_object_that_is_not_there_is_an_error() {
        let mut missing = &b"abc missing\n"[..];
        let error = next_size(&mut missing, "abc").unwrap_err();
        assert_eq!(
            error.to_string(),
            "git has no contents of abc: \"abc missing\""
        );
        let mut there = &b"abc blob 12\nxyz"[..];
        assert_eq!(next_size(&mut there, "abc").unwrap(), 12);
        assert_eq!(there, b"xyz");
    }
}
