//! Finds words in a log of any size, without holding up anybody else.

use std::io;
use std::time::{Duration, Instant};

use build_core::livelog::{LiveLog, Position};
use memchr::memmem::Finder;

use super::ansi::Painter;
use super::cutter::Cutter;

/// Lines found at a time.
const HITS: usize = 50;
/// Longest search; the page then offers to go on.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// Bytes of each line that are looked at.
const MAX_LINE: usize = 64 << 10;
/// Bytes of a line that are shown.
const SHOWN: usize = 200;

/// A line that was found.
pub(in crate::dashboard) struct Hit {
    pub(in crate::dashboard) line: u64,
    pub(in crate::dashboard) html: String,
}

/// What was found.
#[derive(Default)]
pub(in crate::dashboard) struct Found {
    pub(in crate::dashboard) hits: Vec<Hit>,
    /// From where to go on, counted from 1; `None` when the log was read to its end.
    pub(in crate::dashboard) next: Option<u64>,
}

/// The lines from line `from` on, counted from 1, that contain `words`; capitals make no
/// difference unless `words` has some. Cancel safe.
///
/// # Errors
/// When the log cannot be read.
pub(in crate::dashboard) async fn find(log: &LiveLog, words: &str, from: u64) -> io::Result<Found> {
    let begun = Instant::now();
    let any_case = !words.chars().any(char::is_uppercase);
    let finder = Finder::new(words.as_bytes());
    let mut reader = log.reader(Position::Line(from.max(1) - 1))?.until_now();
    let mut cutter = Cutter::keeping(MAX_LINE);
    let mut found = Found::default();
    let mut line = from.max(1);
    let mut piece = vec![0; PIECE];
    loop {
        let read = reader.try_read(&mut piece)?.unwrap_or(0);
        let mut rest = &piece[..read];
        while cutter.feed(&mut rest) || (read == 0 && cutter.length() > 0) {
            let text = cutter.line().0;
            if contains(&finder, text, any_case) {
                found.hits.push(hit(line, text));
            }
            cutter.clear();
            line += 1;
            if found.hits.len() >= HITS || begun.elapsed() > PATIENCE {
                found.next = Some(line);
                return Ok(found);
            }
        }
        if read == 0 {
            return Ok(found);
        }
        // Others get their turn.
        tokio::task::yield_now().await;
    }
}

fn contains(finder: &Finder<'_>, text: &[u8], any_case: bool) -> bool {
    match any_case {
        true => finder.find(&text.to_ascii_lowercase()).is_some(),
        false => finder.find(text).is_some(),
    }
}

fn hit(line: u64, text: &[u8]) -> Hit {
    let mut html = String::new();
    Painter::default().line(&text[..text.len().min(SHOWN)], &mut html);
    Hit { line, html }
}

#[cfg(test)]
mod tests {
    use super::*;
    use build_core::livelog::{LogWriter, Options};

    async fn lines(words: &str, from: u64) -> (Vec<u64>, Option<u64>) {
        let mut writer = LogWriter::in_memory(Options::default());
        let text = "ok\nError: one\nerror <two>\n".to_owned() + &"noise\n".repeat(60) + "error";
        writer.append(text.as_bytes()).unwrap();
        let found = find(&writer.log(), words, from).await.unwrap();
        (found.hits.iter().map(|h| h.line).collect(), found.next)
    }

    #[tokio::test]
    async fn lines_are_found_with_their_numbers() {
        assert_eq!(lines("error", 1).await, (vec![2, 3, 64], None));
        assert_eq!(lines("error", 3).await.0, [3, 64]);
        assert_eq!(lines("Error", 1).await.0, [2]);
        let (hits, next) = lines("noise", 1).await;
        assert_eq!((hits.len(), next), (HITS, Some(54)));
        assert_eq!(lines("absent", 1).await, (vec![], None));
    }
}
