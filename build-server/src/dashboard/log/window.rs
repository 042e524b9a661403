//! A window of a log: so many lines from a place on.

use std::fmt::Write;
use std::io;

use build_core::livelog::{LiveLog, Position};

use super::ansi::Painter;
use super::cutter::Cutter;

/// Lines of a window.
pub(super) const LINES: u64 = 400;
/// Bytes of HTML from which on a window ends: pages stay below 60 KB.
const MAX_HTML: usize = 34_000;
/// Bytes of text of the end of a log.
const TAIL: u64 = 16 << 10;
/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// From this length on the end of a line is looked up instead of read.
const FAR: u64 = 1 << 20;

/// Where a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dashboard) enum From {
    /// At a line, counted from 1.
    Line(u64),
    /// So that it ends where the log ends.
    End,
}

/// Some lines of a log, rendered.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Window {
    pub(in crate::dashboard) html: String,
    /// The first line, counted from 1.
    pub(in crate::dashboard) first: u64,
    /// The line behind the last one.
    pub(in crate::dashboard) next: u64,
    /// Lines of the whole log, the last one without a newline too.
    pub(in crate::dashboard) total: u64,
    /// Bytes of the whole log.
    pub(in crate::dashboard) bytes: u64,
    /// Complete lines of the log.
    pub(in crate::dashboard) complete: u64,
}

impl Window {
    /// Where the window before this one begins.
    pub(in crate::dashboard) fn earlier(&self) -> Option<u64> {
        (self.first > 1).then(|| self.first.saturating_sub(LINES).max(1))
    }

    /// Where the window behind this one begins.
    pub(in crate::dashboard) fn later(&self) -> Option<u64> {
        (self.next <= self.total).then_some(self.next)
    }
}

/// How a line is called and linked to.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Naming {
    run: usize,
    /// Whether lines are anchors.
    chosen: bool,
}

impl Naming {
    /// Of the run that the page is about.
    pub(in crate::dashboard) fn of_run(run: usize) -> Self {
        Self { run, chosen: true }
    }

    /// Of another run on the same page.
    pub(in crate::dashboard) fn beside(run: usize) -> Self {
        Self { run, chosen: false }
    }

    /// Appends a line, counted from 1.
    pub(super) fn push(
        &self,
        html: &mut String,
        painter: &mut Painter,
        n: u64,
        line: (&[u8], u64),
    ) {
        let (text, left_out) = line;
        let run = self.run;
        html.push_str("<div");
        if self.chosen {
            // Writing to a string cannot fail.
            let _ = write!(html, " id=L{n}");
        }
        // Writing to a string cannot fail.
        let _ = write!(
            html,
            "><a href=\"?run={run}&amp;line={n}#L{n}\">{n}</a><span>"
        );
        painter.line(text, html);
        if left_out > 0 {
            let _ = write!(html, "<i>… {left_out} more bytes in the raw log</i>");
        }
        html.push_str("</span></div>\n");
    }
}

/// The window of a log that begins at `from`.
///
/// # Errors
/// When the log cannot be read.
pub(in crate::dashboard) fn window(
    log: &LiveLog,
    from: From,
    naming: &Naming,
) -> io::Result<Window> {
    let bytes = log.len();
    let complete = log.lines();
    let ended = log.offset_of_line(complete)? == Some(bytes);
    let total = complete + u64::from(!ended);
    let first = match from {
        From::Line(line) => line.clamp(1, total.max(1)),
        From::End => tail(log, bytes, total)?,
    };
    let mut drawing = Drawing {
        html: String::new(),
        painter: Painter::default(),
        next: first,
        naming,
    };
    let most = if from == From::End {
        usize::MAX
    } else {
        MAX_HTML
    };
    drawing.read(log, first - 1, bytes, most)?;
    let left_out = cut_front(&mut drawing.html);
    Ok(Window {
        html: drawing.html,
        first: first + left_out,
        next: drawing.next,
        total,
        bytes,
        complete,
    })
}

/// Leaves out the first lines of what is too much; says how many.
fn cut_front(html: &mut String) -> u64 {
    const END: &str = "</div>\n";
    let mut from = html.len().saturating_sub(MAX_HTML + MAX_HTML / 8);
    while !html.is_char_boundary(from) {
        from += 1;
    }
    let Some(at) = html[from..].find(END).filter(|_| from > 0) else {
        return 0;
    };
    let rest = html.split_off(from + at + END.len());
    let lines = html.matches(END).count() as u64;
    *html = rest;
    lines
}

/// The first line of the end of a log.
fn tail(log: &LiveLog, bytes: u64, total: u64) -> io::Result<u64> {
    let by_lines = total.saturating_sub(LINES) + 1;
    let by_bytes = match bytes.checked_sub(TAIL) {
        // The line that is cut there is left out.
        Some(offset) if offset > 0 => log.line_of_offset(offset)? + 2,
        _ => 1,
    };
    Ok(by_lines.max(by_bytes).min(total.max(1)))
}

struct Drawing<'a> {
    html: String,
    painter: Painter,
    /// The line that is drawn next, counted from 1.
    next: u64,
    naming: &'a Naming,
}

impl Drawing<'_> {
    /// Draws from a line on until there are `most` bytes of HTML.
    fn read(&mut self, log: &LiveLog, first: u64, end: u64, most: usize) -> io::Result<()> {
        let mut reader = log.reader(Position::Line(first))?.until(end);
        let last = first + LINES;
        let mut cutter = Cutter::default();
        let mut piece = vec![0; PIECE];
        loop {
            let read = reader.try_read(&mut piece)?.unwrap_or(0);
            if read == 0 {
                break;
            }
            let mut rest = &piece[..read];
            while cutter.feed(&mut rest) {
                self.draw(&cutter);
                cutter.clear();
                if self.next > last || self.html.len() > most {
                    return Ok(());
                }
            }
            if cutter.length() > FAR {
                let here = reader.offset();
                // The newline itself is read again; the last line may have none.
                let there = log.offset_of_line(self.next)?.map_or(end, |next| next - 1);
                cutter.skip(there.saturating_sub(here));
                reader = log.reader(Position::Offset(there.max(here)))?.until(end);
            }
        }
        if cutter.length() > 0 {
            self.draw(&cutter);
        }
        Ok(())
    }

    fn draw(&mut self, cutter: &Cutter) {
        let (painter, line) = (&mut self.painter, cutter.line());
        self.naming.push(&mut self.html, painter, self.next, line);
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use build_core::livelog::{LogWriter, Options};

    fn log(text: &[u8]) -> LiveLog {
        let mut writer = LogWriter::in_memory(Options::default().memory(64 << 20));
        writer.append(text).unwrap();
        writer.finish().unwrap()
    }

    fn shown(log: &LiveLog, from: From) -> Window {
        window(log, from, &Naming::of_run(1)).unwrap()
    }

    #[test]
    fn a_short_log_is_shown_whole_with_a_link_for_each_line() {
        let window = shown(&log(b"one\n<two>"), From::End);
        assert_eq!(
            window.html,
            "<div id=L1><a href=\"?run=1&amp;line=1#L1\">1</a><span>one</span></div>\n\
             <div id=L2><a href=\"?run=1&amp;line=2#L2\">2</a><span>&lt;two&gt;</span></div>\n"
        );
        assert_eq!((window.total, window.complete, window.bytes), (2, 1, 9));
        assert_eq!((window.earlier(), window.later()), (None, None));
        let empty = shown(&log(b""), From::End);
        assert_eq!((empty.html.as_str(), empty.total), ("", 0));
    }

    #[test]
    fn windows_cover_a_log_and_are_bounded() {
        let lines: String = (1..=2_000).map(|n| format!("line {n}\n")).collect();
        let log = log(lines.as_bytes());
        let (mut line, mut seen) = (Some(1), 0);
        while let Some(at) = line {
            let window = shown(&log, From::Line(at));
            assert_eq!(window.first, at);
            assert!(
                window.html.len() < MAX_HTML + 4_000,
                "{}",
                window.html.len()
            );
            assert!(window.html.contains(&format!(">line {at}<")));
            seen += window.next - window.first;
            line = window.later();
        }
        assert_eq!(seen, 2_000);
        let end = shown(&log, From::End);
        assert_eq!((end.next, end.later()), (2_001, None));
        assert!(end.earlier().is_some());
        assert!(end.html.len() < MAX_HTML + MAX_HTML / 8);
        let first = format!("<div id=L{}>", end.first);
        assert!(end.html.starts_with(&first), "{first}");
        assert_eq!(shown(&log, From::Line(u64::MAX)).first, 2_000);
        assert_eq!(shown(&log, From::Line(0)).first, 1);
    }

    #[test]
    fn a_line_of_megabytes_is_cut_and_what_follows_is_shown() {
        let mut text = b"before\n".to_vec();
        text.resize(3 << 20, b'x');
        text.extend_from_slice(b"\nafter\n");
        let log = log(&text);
        let window = shown(&log, From::Line(1));
        assert!(
            window.html.contains("<i>… 3143721 more bytes"),
            "{}",
            window.html
        );
        assert!(window.html.contains(">after<"));
        assert_eq!(window.next, 4);
        assert!(shown(&log, From::End).html.contains(">after<"));
    }
}
