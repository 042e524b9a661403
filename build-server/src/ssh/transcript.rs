//! What commands said, written down for whoever runs the farm: files of the form asciicast 2, which
//! `asciinema play` shows. What people type is not in them: it may be a password.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use build_core::buildlet::Window;
use build_core::clock::{Clock as _, SystemClock};
use serde_json::json;
use tokio::fs::{DirBuilder, File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use crate::supervise::Supervisor;

/// From this size on nothing more is written into a file.
const MOST: u64 = 64 << 20;
/// Between two looks for old ones.
const SWEEP: Duration = Duration::from_secs(600);
/// Longest title.
const MOST_TITLE: usize = 500;

/// Tells files of one second apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// One file.
pub(super) struct Transcript {
    file: File,
    path: PathBuf,
    began: Instant,
    written: u64,
    /// The beginning of a letter whose end has not come.
    rest: Vec<u8>,
}

impl Transcript {
    /// Begins a file in `dir`, which is made when it is not there; both are for their owner alone.
    pub(super) async fn begin(
        dir: &Path,
        session: &str,
        title: &str,
        window: Option<Window>,
    ) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .await?;
        let now = SystemClock.now().as_seconds();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        let session: String = session.chars().filter(|c| plain(*c)).collect();
        let name = format!("{now}-{}-{number}-{session}.cast", std::process::id());
        let path = dir.join(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let window = window.unwrap_or_default();
        let title: String = title.chars().take(MOST_TITLE).collect();
        let head = json!({
            "version": 2,
            "width": window.columns,
            "height": window.rows,
            "timestamp": now,
            "title": title,
        });
        let mut transcript = Self {
            file: file.await?,
            path,
            began: Instant::now(),
            written: 0,
            rest: Vec::new(),
        };
        transcript.write(&head.to_string()).await?;
        Ok(transcript)
    }

    async fn write(&mut self, line: &str) -> io::Result<()> {
        self.written += line.len() as u64 + 1;
        self.file.write_all(format!("{line}\n").as_bytes()).await?;
        self.file.flush().await
    }

    /// Writes down what a command said. What cannot be written is said to whoever runs the farm.
    pub(super) async fn said(&mut self, bytes: &[u8]) {
        if self.written >= MOST {
            return;
        }
        self.rest.extend_from_slice(bytes);
        let whole = whole_letters(&self.rest);
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.rest.drain(..whole);
        if text.is_empty() {
            return;
        }
        let event = json!([self.began.elapsed().as_secs_f64(), "o", text]).to_string();
        if let Err(error) = self.write(&event).await {
            tracing::error!(%error, file = %self.path.display(), "a transcript ends here");
            self.written = MOST;
        }
    }
}

/// How many bytes hold no letter that is cut off at their end.
fn whole_letters(bytes: &[u8]) -> usize {
    let begun = |tail: &[u8]| {
        let read = std::str::from_utf8(tail);
        read.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    // The longest letter has four bytes.
    let cut = (1..=3).find(|n| bytes.len() >= *n && begun(&bytes[bytes.len() - n..]));
    bytes.len() - cut.unwrap_or(0)
}

/// Removes, from now on and every ten minutes, transcripts that are `keep` old, and the oldest ones
/// of more than `most` bytes. Never completes.
pub(super) async fn sweep(dir: PathBuf, keep: Duration, most: u64) {
    let work = Supervisor::new("transcripts");
    loop {
        let here = dir.clone();
        let swept = work.spawn_blocking("sweep", move || remove_old(&here, keep, most));
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(%error, dir = %dir.display(), "old transcripts are not removed");
        }
        tokio::time::sleep(SWEEP).await;
    }
}

fn remove_old(dir: &Path, keep: Duration, most: u64) -> io::Result<()> {
    let listed = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    let mut files = Vec::new();
    for entry in listed {
        let entry = entry?;
        let path = entry.path();
        let about = entry.metadata()?;
        if about.is_file() && path.extension().is_some_and(|ext| ext == "cast") {
            files.push((about.modified()?, about.len(), path));
        }
    }
    files.sort();
    let (now, mut bytes) = (
        SystemTime::now(),
        files.iter().map(|file| file.1).sum::<u64>(),
    );
    for (at, size, path) in files {
        let age = now.duration_since(at).unwrap_or_default();
        let is_old = age >= keep;
        if !is_old && bytes <= most {
            break;
        }
        if !is_old {
            tracing::warn!(file = %path.display(), "there are too many transcripts: one is removed");
        }
        std::fs::remove_file(&path)?;
        bytes -= size;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn letters_are_whole_however_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        let mut transcript = Transcript::begin(&dir, "user-ann/../x", "ann: make", None)
            .await
            .unwrap();
        for piece in [&b"gr\xc3"[..], b"\xbc", b"n\xff\xe2", b"\x82", b"\xac\r\n"] {
            transcript.said(piece).await;
        }
        let text = std::fs::read_to_string(&transcript.path).unwrap();
        let mode = std::fs::metadata(&transcript.path)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(transcript.path.parent().unwrap(), dir);
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let head = lines.next().unwrap();
        assert_eq!((&head["version"], &head["width"]), (&json!(2), &json!(80)));
        let said: String = lines
            .map(|event| event[2].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(said, "gr\u{fc}n\u{fffd}\u{20ac}\r\n");
    }

    #[test]
    fn old_ones_and_those_of_too_many_bytes_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, hours) in [("a.cast", 30), ("b.cast", 3), ("c.cast", 2), ("d.txt", 50)] {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_len(10).unwrap();
            file.set_modified(now - Duration::from_secs(hours * 3600))
                .unwrap();
        }
        let left = || {
            let listed = std::fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> = listed.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let day = Duration::from_secs(24 * 3600);
        remove_old(dir.path(), day, 1000).unwrap();
        assert_eq!(left(), ["b.cast", "c.cast", "d.txt"]);
        remove_old(dir.path(), day, 15).unwrap();
        assert_eq!(left(), ["c.cast", "d.txt"]);
        remove_old(&dir.path().join("none"), day, 15).unwrap();
    }
}
