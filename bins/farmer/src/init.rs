//! `farmer init`: writes the detected steps down.

use std::io::Write;
use std::path::{Path, PathBuf};

use build_core::recipe::{CiFile, Detected, FILE_NAME};
use build_server::source::WorkTree;
use farmer_cli::{Exit, Failure};

use crate::cli::Init;
use crate::output::{failure, print_text};

/// Writes `.farmer.toml` from what the files of the repository say.
pub(crate) async fn init(args: Init) -> Result<(), Failure> {
    let root = directory(&args.repo)?;
    let path = root.join(FILE_NAME);
    let exists = || {
        Failure::usage(
            format!("{} exists", path.display()),
            "look at it with: farmer check; replace it with: farmer init --force",
        )
    };
    if !args.print && !args.force && path.exists() {
        return Err(exists());
    }
    let text = match &args.from {
        Some(file) => translated(file)?,
        None => Detected::from_tree(&WorkTree::at(&root))
            .await
            .map_err(|e| failure(&e))?
            .to_toml(),
    };
    if args.print {
        return print_text(&text);
    }
    write_new(&path, &text, args.force).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(),
        _ => Failure::because(
            Exit::Infrastructure,
            &e,
            Some(&format!("{} could not be written", path.display())),
        ),
    })?;
    farmer_cli::say!("wrote {}; commit it to use it", path.display());
    Ok(())
}

/// The commands of another system's CI file, as a configuration; says what was left out.
fn translated(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| {
        Failure::usage(
            format!("{} cannot be read: {e}", file.display()),
            "give a CI file, such as .github/workflows/test.yml",
        )
    })?;
    // What kind it is shows only in the whole path, when it was given from within its folder.
    let path = std::path::absolute(file)?;
    let ci = CiFile::parse(&path.to_string_lossy(), &text).map_err(|e| failure(&e))?;
    for what in ci.left_out() {
        farmer_cli::say!("left out: {what}");
    }
    ci.to_toml().map_err(|e| failure(&e))
}

/// The whole path of a directory that is there.
pub(crate) fn directory(path: &Path) -> Result<PathBuf, Failure> {
    let root = std::path::absolute(path)?;
    if root.is_dir() {
        return Ok(root);
    }
    let text = format!("{} is not a directory", path.display());
    Err(Failure::usage(text, "give the path of a repository"))
}

fn write_new(path: &Path, text: &str, replace: bool) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if !replace {
        options.create_new(true);
    }
    options.open(path)?.write_all(text.as_bytes())
}
