//! Which names an archive entry may have, and where a link may point.
//!
//! Protocol facts: docs/protocol/buildlet.md, path rules. Every rule here refuses a superset of what
//! could leave the directory by text alone; links on disk are the kernel's part (`beneath`).

use super::policy::{Names, Policy};

/// Longest path, and longest component of one, that Linux accepts.
const PATH_MAX: usize = 4095;
const COMPONENT_MAX: usize = 255;

/// The path an entry is written to, relative and without `.`, `..` or empty components; empty for
/// the directory itself. `None` when the name breaks the policy.
pub(crate) fn cleaned(name: &[u8], policy: &Policy) -> Option<Vec<u8>> {
    let refused = name.is_empty()
        || name.len() > PATH_MAX
        || name[0] == b'/'
        || name.contains(&0)
        || (name.contains(&b'\\') && !policy.backslash)
        || (policy.names == Names::Go2020 && contains(name, b"../"));
    if refused {
        return None;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in name.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(kept.pop()?),
            _ if component.len() > COMPONENT_MAX => return None,
            _ if policy.windows_names && reserved_on_windows(component) => return None,
            _ => kept.push(component),
        }
    }
    (kept.len() <= policy.limits.depth).then(|| kept.join(&b'/'))
}

/// Whether a symbolic link at `path` (cleaned) with this target stays inside, by text alone.
pub(crate) fn target_stays_inside(path: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target[0] == b'/' || target.contains(&0) {
        return false;
    }
    let mut depth = path.iter().filter(|&&b| b == b'/').count();
    for component in target.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

/// Whether a target goes up only at its start, so that text alone decides where it points.
pub(crate) fn climbs_only_first(target: &[u8]) -> bool {
    let mut parts = target
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    parts.by_ref().find(|part| *part != b"..");
    parts.all(|part| part != b"..")
}

/// Names that Windows keeps for devices, or that it changes silently.
pub(crate) fn reserved_on_windows(component: &[u8]) -> bool {
    let stem = component
        .split(|&b| b == b'.')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    let device = match stem.len() {
        3 => [b"con", b"prn", b"aux", b"nul"]
            .iter()
            .any(|name| stem.eq_ignore_ascii_case(*name)),
        4 => {
            let (name, digit) = stem.split_at(3);
            (name.eq_ignore_ascii_case(b"com") || name.eq_ignore_ascii_case(b"lpt"))
                && matches!(digit[0], b'1'..=b'9')
        }
        _ => false,
    };
    let odd = |b: &u8| *b < b' ' || br#"<>:"|?*"#.contains(b);
    device || component.iter().any(odd) || matches!(component.last(), Some(b'.' | b' '))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(name: &str, policy: &Policy) -> Option<String> {
        cleaned(name.as_bytes(), policy).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn the_table_of_the_path_rules() {
        let (now, old) = (Policy::default(), Policy::go2020());
        let table = [
            ("", None, None),
            ("a\\b", None, None),
            ("/a", None, None),
            ("a/../b", Some("b"), None),
            (".", Some(""), Some("")),
            ("./a", Some("a"), Some("a")),
            ("..", None, None),
            ("a/..", Some(""), Some("")),
            ("../x", None, None),
            ("a/../../x", None, None),
            ("a//b/", Some("a/b"), Some("a/b")),
            ("nul\0", None, None),
        ];
        for (name, default, go2020) in table {
            assert_eq!(clean(name, &now).as_deref(), default, "{name:?} by default");
            assert_eq!(clean(name, &old).as_deref(), go2020, "{name:?} as in 2020");
        }
    }

    #[test]
    fn targets_by_text() {
        for (path, target, inside) in [
            ("l", "a", true),
            ("l", "..", false),
            ("d/l", "..", true),
            ("d/l", "../..", false),
            ("d/l", "x/../../..", false),
            ("l", "/etc", false),
            ("l", "", false),
        ] {
            assert_eq!(
                target_stays_inside(path.as_bytes(), target.as_bytes()),
                inside,
                "{path} -> {target}"
            );
        }
        assert!(climbs_only_first(b"../../a/b"));
        assert!(!climbs_only_first(b"a/../b"));
    }

    #[test]
    fn names_windows_keeps() {
        for name in [
            "con", "NUL.txt", "com1", "LPT9.log", "a:b", "x.", "x ", "a?", "aux .c",
        ] {
            assert!(reserved_on_windows(name.as_bytes()), "{name}");
        }
        for name in ["console", "com0", "comx", "a.b", "lpt10"] {
            assert!(!reserved_on_windows(name.as_bytes()), "{name}");
        }
    }
}
