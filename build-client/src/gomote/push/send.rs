//! Looking and sending.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use build_core::buildlet::{Buildlet, DirEntry, ListDir};
use build_core::tarutil::{GzipOptions, Pack};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::ignored::Ignored;
use super::local::Local;
use super::plan::{Plan, Profile, plan};
use crate::{Error, ErrorKind, Result};

/// Pieces of an archive on their way.
const PIECES: usize = 16;
const PIECE: usize = 64 << 10;
const MODE: u32 = 0o644;
/// Longest time for one look at the machine; large trees have to be read there.
const LOOK: Duration = Duration::from_secs(300);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Files that were sent.
    pub sent: usize,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Names that were removed.
    pub removed: usize,
}

/// Looks at both sides and says what is to be done. The machine is asked once; Git about names
/// that only the machine has, when there are any. Also says what the machine listed. Digests of
/// local files are kept in the folder `cache`, when there is one, for the next time.
///
/// # Errors
/// When one of the sides cannot be read.
pub async fn look(
    machine: &dyn Buildlet,
    root: &Path,
    profile: &Profile,
    use_git: bool,
    cache: Option<&Path>,
) -> Result<(Plan, Vec<DirEntry>)> {
    let what = ListDir {
        dir: ".".into(),
        recursive: true,
        digest: true,
        skip: profile.skip.clone(),
    };
    let remote = async {
        let listed = tokio::time::timeout(LOOK, machine.list_dir(&what)).await;
        listed.unwrap_or_else(|_| {
            let text = format!("list the files of {}: no answer", machine.name());
            Err(Error::new(ErrorKind::TimedOut, text))
        })
    };
    let local = async {
        let ignored = match use_git {
            true => Ignored::local(root).await?,
            false => Ignored::default(),
        };
        let (root, profile, rules) = (root.to_owned(), profile.clone(), ignored.clone());
        let cache = cache.map(Path::to_owned);
        let read = tokio::task::spawn_blocking(move || {
            Local::read_with(&root, &profile, &rules, cache.as_deref())
        });
        let read = read
            .await
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "read the local tree", e))?;
        Ok::<_, Error>((read?, ignored))
    };
    let (remote, (local, ignored)) = tokio::try_join!(remote, local)?;
    let first = plan(profile, &local, &remote, |name| ignored.covers(name));
    if first.delete.is_empty() || !use_git {
        return Ok((first, remote));
    }
    let prefix = match profile.remote_dir.as_str() {
        "" => String::new(),
        dir => format!("{dir}/"),
    };
    let only_there: Vec<&str> = remote
        .iter()
        .filter_map(|entry| entry.name.as_str()?.strip_prefix(&prefix))
        .map(|name| name.trim_end_matches('/'))
        .filter(|name| !name.is_empty() && !local.has(name))
        .collect();
    let more = Ignored::among(root, &only_there).await?;
    let covered = |name: &str| ignored.covers(name) || more.covers(name);
    Ok((plan(profile, &local, &remote, covered), remote))
}

/// Does what `plan` says: one removal, one archive, the marker. `told` hears how many bytes of
/// the archive have been sent.
///
/// Not cancel safe: some of it may have been done.
///
/// # Errors
/// The machine's, or when a file changed while it was read.
pub async fn apply(
    machine: &dyn Buildlet,
    root: &Path,
    profile: &Profile,
    plan: &Plan,
    told: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Pushed> {
    machine.remove_all(&plan.delete).await?;
    let mut pushed = Pushed {
        sent: plan.send.len(),
        removed: plan.delete.len(),
        bytes: 0,
    };
    if let (true, Some((name, content))) = (plan.marker, &profile.marker) {
        let path = match profile.remote_dir.as_str() {
            "" => name.clone(),
            dir => format!("{dir}/{name}"),
        };
        machine
            .put(&path, MODE, crate::once(content.clone()))
            .await?;
    }
    if plan.send.is_empty() {
        return Ok(pushed);
    }
    let (sender, pieces) = mpsc::channel(PIECES);
    let (root, names) = (root.to_owned(), plan.send.clone());
    let packing = tokio::task::spawn_blocking(move || pack(&root, &names, sender));
    let (count, counted) = (
        std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)),
        told,
    );
    let sum = std::sync::Arc::clone(&count);
    let archive = futures::stream::unfold(pieces, |mut pieces| async {
        let piece: Option<io::Result<Bytes>> = pieces.recv().await;
        Some((piece?.map_err(Error::from), pieces))
    });
    let archive = futures::StreamExt::inspect(archive, move |piece| {
        if let Ok(piece) = piece {
            let bytes = piece.len() as u64;
            let before = sum.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            counted(before + bytes);
        }
    });
    machine
        .put_tar(Box::pin(archive), &profile.remote_dir)
        .await?;
    packing
        .await
        .map_err(|e| Error::caused_by(ErrorKind::Bug, "pack the files", e))?;
    pushed.bytes = count.load(std::sync::atomic::Ordering::Relaxed);
    Ok(pushed)
}

/// Packs the named files of a tree; a failure ends the archive as an error, never as its end.
fn pack(root: &Path, names: &[String], sender: mpsc::Sender<io::Result<Bytes>>) {
    let mut wanted: HashSet<&[u8]> = HashSet::new();
    for name in names {
        let mut path = name.as_str();
        wanted.insert(path.as_bytes());
        while let Some((parent, _)) = path.rsplit_once('/') {
            wanted.insert(parent.as_bytes());
            path = parent;
        }
    }
    let mut out = Pieces {
        sender,
        piece: Vec::with_capacity(PIECE),
    };
    let packed = std::fs::canonicalize(root)
        .and_then(Pack::open)
        .map_err(Error::from)
        .and_then(|pack| {
            let is_wanted = |path: &[u8]| wanted.contains(path.strip_suffix(b"/").unwrap_or(path));
            pack.filter(is_wanted)
                .write_gz(&mut out, &GzipOptions::default())
                .map_err(|e| Error::caused_by(ErrorKind::Unavailable, "pack the files", e))
        });
    let end = match packed {
        Ok(_) => out.flush(),
        Err(error) => Err(io::Error::other(error)),
    };
    if let Err(error) = end {
        // A receiver that is gone has its own error.
        let _ = out.sender.blocking_send(Err(error));
    }
}

struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeBuildlet;

    #[tokio::test]
    async fn only_what_differs_is_sent_and_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["src/a.go", "src/b.go", "src/deep/c.go", "x.txt"] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let machine = FakeBuildlet::new("m").unwrap();
        let profile = Profile::go();
        let push = async || {
            let (plan, _) = look(&machine, root, &profile, true, None).await.unwrap();
            let pushed = apply(&machine, root, &profile, &plan, |_| {})
                .await
                .unwrap();
            (plan, pushed)
        };
        let (plan, pushed) = push().await;
        assert!(
            plan.marker && pushed.sent == 4 && pushed.bytes > 0,
            "{plan:?}"
        );
        let (plan, pushed) = push().await;
        assert!(plan.is_empty() && pushed == Pushed::default(), "{plan:?}");
        std::fs::write(root.join("src/b.go"), "changed").unwrap();
        std::fs::remove_dir_all(root.join("src/deep")).unwrap();
        let (plan, pushed) = push().await;
        assert_eq!(
            (plan.send.as_slice(), plan.delete.as_slice()),
            (
                ["src/b.go".to_owned()].as_slice(),
                ["go/src/deep".to_owned()].as_slice()
            )
        );
        assert_eq!((pushed.sent, pushed.removed), (1, 1));
        let out = machine.exec(build_core::buildlet::Exec::shell(
            "cat go/src/b.go go/VERSION; ls go/src",
        ));
        assert_eq!(
            out.await.unwrap().text(),
            "changeddevel gomote.XXXXXa.go\nb.go\n"
        );
    }
}
