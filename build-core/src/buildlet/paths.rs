//! Which paths of the wire may name something below the work directory.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// Whose rules for separators and volumes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStyle {
    /// `/` separates; `\` is an ordinary character.
    Unix,
    /// Both separate; there are volumes such as `C:`.
    Windows,
}

impl PathStyle {
    /// The style of the system this is compiled for.
    pub const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else {
        Self::Unix
    };
}

/// A path relative to the work directory, clean and lexically below it: no empty, `.` or
/// `..` elements, no NUL. The empty path is the work directory itself.
///
/// Links can still lead out: open it beneath a directory handle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WirePath(String);

impl WirePath {
    /// A path that must name something: a file to write, a program, an archive entry.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for empty, absolute and escaping paths.
    pub fn of_entry(path: &str, style: PathStyle) -> Result<Self> {
        if path.is_empty() {
            return Err(bad(path));
        }
        Self::of_dir(path, style)
    }

    /// A path that may be empty, for the work directory.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for absolute and escaping paths.
    pub fn of_dir(path: &str, style: PathStyle) -> Result<Self> {
        let slashed = match style {
            PathStyle::Unix => path.to_owned(),
            PathStyle::Windows => path.replace('\\', "/"),
        };
        let volume = style == PathStyle::Windows && slashed.contains(':');
        let cleaned = clean(&slashed);
        let escapes = cleaned == ".." || cleaned.starts_with("../");
        if slashed.starts_with('/') || escapes || volume || slashed.contains('\0') {
            return Err(bad(path));
        }
        Ok(Self(if cleaned == "." {
            String::new()
        } else {
            cleaned
        }))
    }

    /// The path, `/`-separated.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the work directory itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory it lies in; the work directory for single names.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(
            self.0
                .rsplit_once('/')
                .map_or(String::new(), |(parent, _)| parent.to_owned()),
        )
    }

    /// The last element; `None` for the work directory.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        let name = self.0.rsplit('/').next();
        name.filter(|name| !name.is_empty())
    }
}

impl fmt::Display for WirePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn bad(path: &str) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("path {path:?} is not below the work directory"),
    )
}

/// Whether the Go implementation of 2020 takes the path where it must name something
/// (rule P). It lets `..` and `a/..` pass: ask [`WirePath::of_entry`] before acting.
#[must_use]
pub fn is_entry_of_2020(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && !path.contains('\\') && !path.contains("../")
}

/// Whether the Go implementation of 2020 takes the path as a directory (rule D).
#[must_use]
pub fn is_dir_of_2020(path: &str) -> bool {
    if path.is_empty() {
        return true;
    }
    let cleaned = clean(path);
    let escapes = cleaned == ".." || cleaned.starts_with("../") || cleaned.ends_with("/..");
    !path.contains('\\') && !path.starts_with('/') && !escapes
}

/// The shortest equivalent of a `/`-separated path by its text alone, as Go's `path.Clean`:
/// `.` for the empty one, `..` kept only at the front of relative paths.
#[must_use]
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => match kept.last() {
                Some(&last) if last != ".." => {
                    kept.pop();
                }
                _ if absolute => {}
                _ => kept.push(".."),
            },
            name => kept.push(name),
        }
    }
    let joined = kept.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cleaning_is_gos() {
        let rows = [
            ("", "."),
            (".", "."),
            ("/", "/"),
            ("a", "a"),
            ("a/", "a"),
            ("a//b", "a/b"),
            ("./a", "a"),
            ("a/./b", "a/b"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("..", ".."),
            ("../a", "../a"),
            ("a/../..", ".."),
            ("a/../../b", "../b"),
            ("/..", "/"),
            ("/../a", "/a"),
            ("../../a", "../../a"),
            ("a/b/../../c", "c"),
        ];
        for (path, cleaned) in rows {
            assert_eq!(clean(path), cleaned, "{path:?}");
        }
    }

    /// The table of the protocol: path, rule P, rule D.
    #[test]
    fn the_rules_of_2020_are_kept() {
        let rows = [
            ("", false, true),
            ("a\\b", false, false),
            ("/a", false, false),
            ("../a", false, false),
            ("a/../b", false, true),
            (".", true, true),
            ("./a", true, true),
            ("..", true, false),
            ("a/..", true, true),
            ("go/src", true, true),
            ("a/../../b", false, false),
        ];
        for (path, entry, dir) in rows {
            assert_eq!(is_entry_of_2020(path), entry, "rule P for {path:?}");
            assert_eq!(is_dir_of_2020(path), dir, "rule D for {path:?}");
        }
    }

    #[test]
    fn the_later_rule_serves_all() {
        let unix = |path| WirePath::of_dir(path, PathStyle::Unix).map(|p| p.0).ok();
        let windows = |path| WirePath::of_dir(path, PathStyle::Windows).map(|p| p.0).ok();
        assert_eq!(unix("").as_deref(), Some(""));
        assert_eq!(unix("./a//b/").as_deref(), Some("a/b"));
        assert_eq!(unix("a/../b").as_deref(), Some("b"));
        assert_eq!(unix("a/..").as_deref(), Some(""));
        assert_eq!(unix("a\\b").as_deref(), Some("a\\b"));
        assert_eq!(windows("a\\b").as_deref(), Some("a/b"));
        for path in ["..", "../a", "a/../..", "/a", "/", "a\0b"] {
            assert_eq!(unix(path), None, "{path:?}");
            assert_eq!(windows(path), None, "{path:?}");
        }
        for path in ["C:\\a", "C:a", "\\a", "\\\\host\\share", "a\\..\\..\\b"] {
            assert_eq!(windows(path), None, "{path:?}");
        }
        assert!(WirePath::of_entry("", PathStyle::Unix).is_err());
    }

    #[test]
    fn parts_of_a_path() {
        let path = WirePath::of_entry("go/src/make.bash", PathStyle::Unix).unwrap();
        assert_eq!(path.file_name(), Some("make.bash"));
        assert_eq!(path.parent().as_str(), "go/src");
        assert!(path.parent().parent().parent().is_root());
        assert_eq!(path.parent().parent().parent().file_name(), None);
    }

    proptest! {
        #[test]
        fn accepted_paths_stay_below(path in "[./\\\\a:\0]{0,12}", windows in any::<bool>()) {
            let style = if windows { PathStyle::Windows } else { PathStyle::Unix };
            if let Ok(accepted) = WirePath::of_dir(&path, style) {
                let text = accepted.as_str();
                prop_assert!(!text.starts_with('/') && !text.contains('\0'));
                prop_assert!(text.is_empty() || text.split('/').all(|e| !["", ".", ".."].contains(&e)));
                prop_assert_eq!(&WirePath::of_dir(text, style).unwrap(), &accepted);
            }
        }
    }
}
