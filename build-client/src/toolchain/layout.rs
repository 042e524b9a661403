//! From what an archive held to the directory of a toolchain.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::rows::Layout;
use crate::httpdl::part::failed;
use crate::{Error, ErrorKind, Result};

/// The toolchain's directory within `dir`, which holds what an archive held.
pub(super) fn settle(dir: &Path, root: &str, layout: Layout) -> Result<PathBuf> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Corrupt, what));
    let entries = fs::read_dir(dir).map_err(|error| failed("read", dir, error))?;
    for entry in entries {
        let name = entry
            .map_err(|error| failed("read", dir, error))?
            .file_name();
        if name != *root {
            return wrong(format!(
                "the archive holds {} beside {root}",
                name.display()
            ));
        }
    }
    let found = dir.join(root);
    if !found.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return wrong(format!("the archive holds no directory {root}"));
    }
    links_stay_inside(&found, &found)?;
    match layout {
        Layout::Plain => Ok(found),
        Layout::RustInstaller => merge(dir, &found),
    }
}

/// The unpacker keeps links inside `dir`; a toolchain is moved, so they must not leave `root` either.
fn links_stay_inside(root: &Path, dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).map_err(|error| failed("read", dir, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed("read", dir, error))?;
        let (path, kind) = (entry.path(), entry.file_type());
        let kind = kind.map_err(|error| failed("read", &path, error))?;
        if kind.is_dir() {
            links_stay_inside(root, &path)?;
        } else if kind.is_symlink() && !stays_inside(root, &path)? {
            let link = path.strip_prefix(root).unwrap_or(&path).display();
            let what = format!("the link {link} points outside of the toolchain");
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
    }
    Ok(())
}

fn stays_inside(root: &Path, link: &Path) -> Result<bool> {
    let target = fs::read_link(link).map_err(|error| failed("read", link, error))?;
    // By text: up only at the start, and never above the root.
    let ups = target
        .components()
        .take_while(|part| *part == Component::ParentDir)
        .count();
    let rest = target.components().skip(ups);
    let down = rest
        .into_iter()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let depth = link
        .strip_prefix(root)
        .map_or(0, |path| path.components().count() - 1);
    let by_text = down && ups <= depth;
    // And by what is there, where there is something.
    let real = root
        .canonicalize()
        .and_then(|root| Ok(link.canonicalize()?.starts_with(root)));
    Ok(by_text && real.unwrap_or(true))
}

/// Components of a Rust installer, by the list that each carries, as one directory.
fn merge(dir: &Path, root: &Path) -> Result<PathBuf> {
    let merged = dir.join("merged");
    fs::create_dir(&merged).map_err(|error| failed("make", &merged, error))?;
    for component in lines(&root.join("components"))? {
        let component = plain(&component)?;
        let from = root.join(component);
        for line in lines(&from.join("manifest.in"))? {
            let Some((_, path)) = line.split_once(':') else {
                let what = format!("the list of files names {line:?}");
                return Err(Error::new(ErrorKind::Corrupt, what));
            };
            let path = plain(path)?;
            let to = merged.join(path);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(|error| failed("make", parent, error))?;
            }
            let from = from.join(path);
            fs::rename(&from, &to).map_err(|error| failed("move", &from, error))?;
        }
    }
    Ok(merged)
}

fn lines(list: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(list).map_err(|error| {
        let what = format!("the archive lacks {}", list.display());
        Error::caused_by(ErrorKind::Corrupt, what, error)
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// A path of a list of files, which leads nowhere else.
fn plain(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    let within = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if within && path.components().next().is_some() {
        return Ok(path);
    }
    let what = format!("the list of files names {path:?}");
    Err(Error::new(ErrorKind::Corrupt, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_components_of_rust_become_one_directory() {
        let dir = tree(&[
            ("r/components", "rustc\ncargo\n"),
            ("r/rustc/manifest.in", "file:bin/rustc\ndir:share/doc\n"),
            ("r/rustc/bin/rustc", "1"),
            ("r/rustc/share/doc/a", "2"),
            ("r/cargo/manifest.in", "file:bin/cargo\n"),
            ("r/cargo/bin/cargo", "3"),
            ("r/install.sh", ""),
        ]);
        let merged = settle(dir.path(), "r", Layout::RustInstaller).unwrap();
        let read = |name| fs::read_to_string(merged.join(name)).unwrap();
        assert_eq!(
            (read("bin/rustc"), read("share/doc/a"), read("bin/cargo")),
            ("1".into(), "2".into(), "3".into())
        );
        assert!(!merged.join("install.sh").exists());
    }

    #[test]
    fn what_does_not_look_like_the_toolchain_is_refused() {
        let told = |files: &[(&str, &str)], layout| {
            let dir = tree(files);
            let error = settle(dir.path(), "r", layout).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            error.chain()
        };
        assert!(told(&[("x/a", "")], Layout::Plain).contains("holds x beside r"));
        assert!(told(&[("r", "")], Layout::Plain).contains("no directory r"));
        assert!(told(&[], Layout::Plain).contains("no directory r"));
        assert!(told(&[("r/a", "")], Layout::RustInstaller).contains("lacks"));
        let list = |line| {
            told(
                &[("r/components", "c"), ("r/c/manifest.in", line)],
                Layout::RustInstaller,
            )
        };
        assert!(list("file:../../x").contains("names"));
        assert!(list("file:/etc/x").contains("names"));
        assert!(list("nothing").contains("names"));
    }
}
