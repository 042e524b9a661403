//! Release notes: what changes say about themselves (`RELNOTE=…`), and notes merged from
//! fragments, a file each.

mod fragments;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use fragments::{BadFragments, Fragment, check_fragment, merge, todo_lines};

use crate::corpus::{Status, View};
use crate::query::{Cl, UnixTime};

/// The word that marks a note.
const MARKER: &str = "RELNOTE";

/// Which changes are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Their server.
    pub server: String,
    /// Their branch.
    pub branch: String,
    /// Only those committed at this time or later.
    pub since: UnixTime,
}

impl Selection {
    /// The merged changes of the Go project's main branch.
    #[must_use]
    pub fn go(since: UnixTime) -> Self {
        Self {
            server: "go.googlesource.com".to_owned(),
            branch: "master".to_owned(),
            since,
        }
    }

    /// The numbers of the changes, with the newest message of each.
    pub fn cls<'v>(&self, view: &'v View) -> Vec<Cl<'v>> {
        let projects = view
            .gerrit()
            .projects()
            .filter(|project| project.server() == self.server);
        let merged =
            projects.flat_map(|project| project.cls().status(Status::Merged).branch(&self.branch));
        merged
            .filter(|cl| cl.commit().time() >= self.since)
            .collect()
    }
}

/// What a change says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The package it is about; `??` when the subject does not say.
    pub package: String,
    /// Number of the change.
    pub cl: i32,
    /// Its subject.
    pub subject: String,
    /// What follows `RELNOTE=`.
    pub note: String,
}

impl Note {
    fn line(&self) -> String {
        let before = match self.note.as_str() {
            "yes" | "y" => String::new(),
            note => format!("{note}: "),
        };
        format!(
            "https://golang.org/cl/{}: {before}{}",
            self.cl, self.subject
        )
    }
}

/// How notes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A package a line, its changes below it.
    Text,
    /// As the Go project's release notes had it until 2023.
    Html,
    /// A heading for each package, its changes as a list.
    Markdown,
}

/// What follows the first `RELNOTE=` or `RELNOTES=` of a text, to the end of its line.
#[must_use]
pub fn parse_note(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find(MARKER) {
        rest = &rest[at + MARKER.len()..];
        let value = rest.strip_prefix('S').unwrap_or(rest).strip_prefix('=');
        let line = value
            .and_then(|value| value.lines().next())
            .filter(|line| !line.is_empty());
        if line.is_some() {
            return line;
        }
    }
    None
}

/// The note of a change: its message alone decides when it holds the marker; else the first
/// comment that does, in the order of files.
fn note_of(cl: &Cl<'_>, comments: Option<&Vec<String>>) -> Option<String> {
    let message = cl.commit().message();
    if message.contains(MARKER) {
        return parse_note(&message).map(str::to_owned);
    }
    let marked = comments?.iter().find(|comment| comment.contains(MARKER))?;
    parse_note(marked).map(str::to_owned)
}

/// The package that a subject names: what stands before the first colon, below the import path
/// of the project.
fn package(subject: &str, import_path: Option<String>) -> String {
    match (subject.split_once(':'), import_path) {
        (Some((name, _)), Some(root)) if root.is_empty() => name.to_owned(),
        (Some((name, _)), Some(root)) => format!("{root}/{name}"),
        _ => "??".to_owned(),
    }
}

/// The notes of `cls`, by package and number. `comments` holds the inline comments by number of
/// change, in the order of their files; `import_path` tells where a project's packages are
/// (empty for the standard library); changes in `excluded` are left out.
#[must_use]
pub fn notes(
    cls: &[Cl<'_>],
    comments: &BTreeMap<i32, Vec<String>>,
    import_path: &dyn Fn(&str) -> Option<String>,
    excluded: &BTreeSet<i32>,
) -> Vec<Note> {
    let note = |cl: &Cl<'_>| {
        let note = note_of(cl, comments.get(&cl.number()))?;
        let subject = cl.subject();
        let package = package(&subject, import_path(cl.project().name()));
        Some(Note {
            package,
            cl: cl.number(),
            subject,
            note,
        })
    };
    let mut notes: Vec<Note> = cls
        .iter()
        .filter(|cl| !excluded.contains(&cl.number()))
        .filter_map(note)
        .collect();
    notes.sort_by(|a, b| (&a.package, a.cl).cmp(&(&b.package, b.cl)));
    notes
}

/// The numbers of the changes that a text names: `CL 123`.
#[must_use]
pub fn named_cls(text: &str) -> BTreeSet<i32> {
    let after = text
        .match_indices("CL ")
        .map(|(at, word)| &text[at + word.len()..]);
    after
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

/// The notes, written.
#[must_use]
pub fn render(notes: &[Note], format: Format) -> String {
    let mut text = String::new();
    let packages = notes.chunk_by(|a, b| a.package == b.package);
    match format {
        Format::Text => {
            for group in packages {
                text += &format!("{}\n", group[0].package);
                group
                    .iter()
                    .for_each(|note| text += &format!("  {}\n", note.line()));
            }
        }
        Format::Markdown => {
            for group in packages {
                text += &format!("## {}\n\n", group[0].package);
                for note in group {
                    text += &format!(
                        "- {} ([CL {}](https://golang.org/cl/{}))\n",
                        note.subject, note.cl, note.cl
                    );
                }
                text.push('\n');
            }
        }
        Format::Html => {
            let is_command = |note: &&Note| note.package.starts_with("cmd/");
            for note in notes.iter().filter(is_command) {
                // Two dashes would end the comment.
                text += &format!(
                    "<!-- CL {}: {} -->\n",
                    note.cl,
                    note.line().replace("--", "- -")
                );
            }
            for group in packages.filter(|group| !is_command(&&group[0])) {
                let package = escape(&group[0].package);
                text += &format!(
                    "\n<dl id=\"{package}\"><dt><a href=\"/pkg/{package}/\">{package}</a></dt>\n  <dd>"
                );
                for note in group {
                    let subject = note
                        .subject
                        .strip_prefix(&format!("{}: ", note.package))
                        .unwrap_or(&note.subject);
                    let url = format!("https://golang.org/cl/{}", note.cl);
                    text += &format!(
                        "\n    <p><!-- CL {} -->\n      TODO: <a href=\"{url}\">{url}</a>: {}\n    </p>\n",
                        note.cl,
                        escape(subject)
                    );
                }
                text += &format!("  </dd>\n</dl><!-- {package} -->\n");
            }
        }
    }
    text
}

/// As Go's pages are escaped.
fn escape(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '\'' => out.push_str("&#39;"),
                '"' => out.push_str("&#34;"),
                c => out.push(c),
            }
            out
        })
}

/// Changes that mention an accepted proposal: number of the change and of the issue, for issues
/// of `repo` with the label `label`.
#[must_use]
pub fn of_proposals(view: &View, cls: &[Cl<'_>], repo: &str, label: &str) -> Vec<(i32, i32)> {
    let Ok(repo) = view.github().repo(repo) else {
        return Vec::new();
    };
    let accepted: BTreeSet<i32> = repo
        .issues()
        .label(label)
        .map(|issue| issue.number())
        .collect();
    let mut found: Vec<(i32, i32)> = Vec::new();
    for cl in cls {
        let named = cl
            .references_with(Some((repo.owner(), repo.name())))
            .filter(|r| r.owner() == repo.owner() && r.repo() == repo.name());
        found.extend(
            named
                .map(|r| (cl.number(), r.number()))
                .filter(|(_, issue)| accepted.contains(issue)),
        );
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_marker() {
        assert_eq!(parse_note("x\nRELNOTE=yes\ny"), Some("yes"));
        assert_eq!(parse_note("RELNOTES=new API"), Some("new API"));
        assert_eq!(
            parse_note("RELNOTE is here, RELNOTE=\nRELNOTE=y"),
            Some("y")
        );
        assert_eq!(parse_note("RELNOTE: no"), None);
    }

    #[test]
    fn only_whole_numbers_are_named() {
        let named = named_cls("<!-- CL 123 --> CL 7, xCL 9 CL x");
        assert!(named.contains(&123) && named.contains(&7) && !named.contains(&12));
    }

    fn note(package: &str, cl: i32, subject: &str, note: &str) -> Note {
        Note {
            package: package.into(),
            cl,
            subject: subject.into(),
            note: note.into(),
        }
    }

    #[test]
    fn notes_as_text_and_pages() {
        let notes = [
            note("??", 4, "fix <it>", "y"),
            note("cmd/go", 3, "cmd/go: build -- more", "new flag"),
            note("net/http", 1, "net/http: serve \"x\"", "yes"),
            note("net/http", 2, "net/http: more", "yes"),
        ];
        assert_eq!(
            render(&notes, Format::Text),
            "??\n  https://golang.org/cl/4: fix <it>\ncmd/go\n  https://golang.org/cl/3: new flag: cmd/go: build -- more\n\
             net/http\n  https://golang.org/cl/1: net/http: serve \"x\"\n  https://golang.org/cl/2: net/http: more\n"
        );
        let page = render(&notes, Format::Html);
        assert!(page.starts_with("<!-- CL 3: https://golang.org/cl/3: new flag: cmd/go: build - - more -->\n\n<dl id=\"??\">"), "{page}");
        assert!(page.contains("TODO: <a href=\"https://golang.org/cl/1\">https://golang.org/cl/1</a>: serve &#34;x&#34;\n    </p>\n"), "{page}");
        assert!(
            page.ends_with("  </dd>\n</dl><!-- net/http -->\n"),
            "{page}"
        );
        assert!(render(&notes, Format::Markdown).contains("## net/http\n\n- net/http: serve"));
    }

    #[test]
    fn packages_of_subjects() {
        assert_eq!(package("net/http: x", Some(String::new())), "net/http");
        assert_eq!(
            package("html: x", Some("golang.org/x/net".into())),
            "golang.org/x/net/html"
        );
        assert_eq!(package("no colon", Some(String::new())), "??");
        assert_eq!(package("a: b", None), "??");
    }
}
