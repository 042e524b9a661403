//! Release notes from fragments: Markdown files, each about one thing, merged in the order of
//! their paths.

use std::collections::BTreeMap;

/// A file of notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Its path below the directory of fragments, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Fragments that cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFragments {
    /// Two files define the same link.
    #[error("{second}: the link [{id}] is defined in {first} already")]
    DuplicateLink {
        /// The name of the link.
        id: String,
        /// Who defines it first.
        first: String,
        /// Who defines it again.
        second: String,
    },
    /// A file says nothing.
    #[error("{path}: a note needs a sentence, or TODO")]
    Empty {
        /// The file.
        path: String,
    },
}

/// Whether a fragment says something: a sentence, or that there is something to do.
#[must_use]
pub fn check_fragment(text: &str) -> bool {
    let said = text.lines().filter(|line| !line.starts_with('#'));
    said.collect::<String>().contains(['.', '?', '!']) || text.contains("TODO")
}

/// The lines with `TODO`, as `PATH:LINE: TEXT`; those of the list of things to do itself
/// (`9-todo.md`) are left out.
#[must_use]
pub fn todo_lines(fragments: &[Fragment]) -> Vec<String> {
    let files = fragments
        .iter()
        .filter(|f| f.path.rsplit('/').next() != Some("9-todo.md"));
    let lines = files.flat_map(|f| {
        f.text
            .lines()
            .enumerate()
            .map(move |(n, line)| (f, n + 1, line))
    });
    lines
        .filter(|(_, _, line)| line.contains("TODO"))
        .map(|(f, n, line)| format!("{}:{n}: {}", f.path, line.trim()))
        .collect()
}

/// The notes of version `minor` (`23` for Go 1.23).
///
/// # Errors
/// [`BadFragments`] with the file that does not fit.
pub fn merge(fragments: &[Fragment], minor: u32) -> Result<String, BadFragments> {
    let mut sorted: Vec<&Fragment> = fragments.iter().collect();
    sorted.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let mut links: BTreeMap<String, &str> = BTreeMap::new();
    let mut body = String::new();
    let mut last_package = None;
    for fragment in sorted {
        for id in fragment.text.lines().filter_map(link_definition) {
            if let Some(first) = links.insert(id.to_lowercase(), &fragment.path) {
                return Err(BadFragments::DuplicateLink {
                    id: id.to_owned(),
                    first: first.to_owned(),
                    second: fragment.path.clone(),
                });
            }
        }
        let package = package_of(&fragment.path);
        let mut text = fragment.text.trim_end().to_owned();
        if let Some(package) = package {
            if !check_fragment(&text) {
                return Err(BadFragments::Empty {
                    path: fragment.path.clone(),
                });
            }
            if last_package != Some(package) {
                body += &format!("#### [`{package}`](/pkg/{package}/)\n\n");
            }
            text = format!(
                "<!-- {} -->\n{}",
                fragment.path,
                with_symbols(&text, package)
            );
        } else {
            text = with_symbols(&text, "");
        }
        last_package = package;
        if !text.is_empty() {
            body += &text;
            body += "\n\n";
        }
    }
    let body = without_empty_headings(&body);
    Ok(format!(
        "---\ntitle: Go 1.{minor} Release Notes\ntemplate: false\n---\n\n{}\n",
        body.trim_end()
    ))
}

/// The package of a file below `*stdlib/*minor/`.
fn package_of(path: &str) -> Option<&str> {
    let (dirs, _) = path.rsplit_once('/')?;
    let mut at = 0;
    let mut before = "";
    for part in dirs.split('/') {
        at += part.len() + 1;
        if before.ends_with("stdlib") && part.ends_with("minor") {
            return dirs.get(at..).filter(|package| !package.is_empty());
        }
        before = part;
    }
    None
}

/// The name in `[name]: address`.
fn link_definition(line: &str) -> Option<&str> {
    let (id, rest) = line.strip_prefix('[')?.split_once("]:")?;
    (!id.is_empty() && !id.contains(['[', ']']) && !rest.trim().is_empty()).then_some(id)
}

/// `[Name]`, `[Type.Name]`, `[pkg.Name]` and `[pkg]` as links into the documentation; what is a
/// link already stays.
fn with_symbols(text: &str, package: &str) -> String {
    let defined: Vec<String> = text
        .lines()
        .filter_map(link_definition)
        .map(str::to_lowercase)
        .collect();
    let mut out = String::with_capacity(text.len());
    let mut fenced = false;
    for line in text.split_inclusive('\n') {
        fenced ^= line.trim_start().starts_with("```");
        if fenced || line.starts_with("    ") || line.starts_with('\t') {
            out.push_str(line);
            continue;
        }
        let mut rest = line;
        while let Some(open) = rest.find('[') {
            let (before, from) = rest.split_at(open);
            out.push_str(before);
            let Some(close) = from.find(']') else {
                rest = from;
                break;
            };
            let (inner, after) = (&from[1..close], &from[close + 1..]);
            let linked = after.starts_with(['(', '[', ':'])
                || before.ends_with(']')
                || defined.contains(&inner.to_lowercase());
            match symbol_link(inner, package).filter(|_| !linked) {
                Some(link) => out += &format!("[{inner}]({link})"),
                None => out.push_str(&from[..=close]),
            }
            rest = after;
        }
        out.push_str(rest);
    }
    out
}

fn symbol_link(inner: &str, package: &str) -> Option<String> {
    let name = inner
        .strip_prefix('`')
        .and_then(|name| name.strip_suffix('`'))
        .unwrap_or(inner);
    let name = name.strip_prefix('*').unwrap_or(name);
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let exported = |part: &str| plain(part) && part.starts_with(|c: char| c.is_ascii_uppercase());
    let (dirs, last) = name
        .rsplit_once('/')
        .map_or(("", name), |(dirs, last)| (dirs, last));
    let parts: Vec<&str> = last.split('.').collect();
    if !dirs.split('/').all(|dir| dirs.is_empty() || plain(dir))
        || parts.iter().any(|part| !plain(part))
    {
        return None;
    }
    let path = |base: &str| {
        if dirs.is_empty() {
            base.to_owned()
        } else {
            format!("{dirs}/{base}")
        }
    };
    if exported(parts[0]) && dirs.is_empty() {
        // A name of the package that the file is about.
        let own =
            parts.len() <= 2 && parts.iter().all(|part| exported(part)) && !package.is_empty();
        return own.then(|| format!("/pkg/{package}#{}", parts.join(".")));
    }
    match parts[..] {
        [base] if !dirs.is_empty() => Some(format!("/pkg/{}", path(base))),
        [base, ref symbol @ ..]
            if !symbol.is_empty()
                && symbol.len() <= 2
                && symbol.iter().all(|part| exported(part)) =>
        {
            Some(format!("/pkg/{}#{}", path(base), symbol.join(".")))
        }
        _ => None,
    }
}

fn heading_level(line: &str) -> Option<usize> {
    let level = line.bytes().take_while(|b| *b == b'#').count();
    (level > 0 && line[level..].starts_with(' ')).then_some(level)
}

/// Without headings that have nothing below them; comments are nothing.
fn without_empty_headings(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut fence = false;
    let lines: Vec<(&str, bool)> = text
        .lines()
        .map(|line| {
            fence ^= line.trim_start().starts_with("```");
            (line, fence)
        })
        .collect();
    // From the end: what a heading is for has been seen when it is met. How deep the next thing
    // that stays is: text is deepest, the end is nothing.
    let mut next_level = 0;
    for (line, fenced) in lines.into_iter().rev() {
        match heading_level(line).filter(|_| !fenced) {
            Some(level) if next_level > level => {
                kept.push(line);
                next_level = level;
            }
            // Nothing of its own: it goes, and the blank lines after it.
            Some(_) => {
                while kept.last().is_some_and(|next| next.is_empty()) {
                    kept.pop();
                }
            }
            None => {
                let comment = line.starts_with("<!--") && line.ends_with("-->");
                if !line.trim().is_empty() && !comment {
                    next_level = usize::MAX;
                }
                kept.push(line);
            }
        }
    }
    kept.reverse();
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(path: &str, text: &str) -> Fragment {
        Fragment {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn fragments_are_merged_in_order() {
        let merged = merge(
            &[
                fragment("6-stdlib/99-minor/net/http/123.md", "[Client] does more.\n"),
                fragment(
                    "6-stdlib/99-minor/net/http/2.md",
                    "See [io.Reader], [`Server.Serve`], [net/url] and [x](y).\n",
                ),
                fragment("6-stdlib/0-heading.md", "## Standard library\n"),
                fragment("6-stdlib/99-minor/0-heading.md", "### Minor changes\n"),
                fragment("1-intro.md", "## Introduction\n\nNew.\n"),
                fragment("3-tools.md", "## Tools\n\n### Go command\n\n"),
                fragment("7-ports.md", "## Ports\n\n### Linux\n\nMore.\n"),
            ],
            23,
        )
        .unwrap();
        assert_eq!(
            merged,
            "---\ntitle: Go 1.23 Release Notes\ntemplate: false\n---\n\n## Introduction\n\nNew.\n\n\
             ## Standard library\n\n### Minor changes\n\n\
             #### [`net/http`](/pkg/net/http/)\n\n<!-- 6-stdlib/99-minor/net/http/123.md -->\n\
             [Client](/pkg/net/http#Client) does more.\n\n<!-- 6-stdlib/99-minor/net/http/2.md -->\n\
             See [io.Reader](/pkg/io#Reader), [`Server.Serve`](/pkg/net/http#Server.Serve), [net/url](/pkg/net/url) and [x](y).\n\n\
             ## Ports\n\n### Linux\n\nMore.\n"
        );
    }

    #[test]
    fn a_link_is_defined_once() {
        let two = [
            fragment("a.md", "[x]: /one\n"),
            fragment("b.md", "See [x].\n\n[X]: /two\n"),
        ];
        let error = merge(&two, 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "b.md: the link [X] is defined in a.md already"
        );
    }

    #[test]
    fn fragments_say_something() {
        assert!(
            check_fragment("It works.")
                && check_fragment("<!-- TODO -->")
                && !check_fragment("# A heading.\n")
        );
        let empty = [fragment("6-stdlib/99-minor/net/1.md", "nothing\n")];
        assert_eq!(
            merge(&empty, 1).unwrap_err(),
            BadFragments::Empty {
                path: "6-stdlib/99-minor/net/1.md".into()
            }
        );
        let left = [
            fragment("9-todo.md", "TODO"),
            fragment("a.md", "x\n  TODO: y\n"),
        ];
        assert_eq!(todo_lines(&left), ["a.md:2: TODO: y"]);
    }
}
