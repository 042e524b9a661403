//! What a corpus follows, kept beside it: one target a line.

use std::fs;
use std::path::{Path, PathBuf};

use farmer_cli::Failure;
use maintner_core::sync::Target;

use super::report::failure;

/// The list of targets of a folder.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    path: PathBuf,
    all: Vec<Target>,
}

impl Targets {
    /// Those of the corpus in `folder`.
    pub(crate) fn of(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("targets");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let all = lines
            .map(|line| line.parse().map_err(|error| failure(&error)))
            .collect::<Result<Vec<Target>, Failure>>()?;
        Ok(Self { path, all })
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Target] {
        &self.all
    }

    /// Adds one; whether it is new.
    pub(crate) fn add(&mut self, target: Target) -> Result<bool, Failure> {
        if self.all.contains(&target) {
            return Ok(false);
        }
        self.all.push(target);
        self.write()?;
        Ok(true)
    }

    /// Removes one; whether it was there. What the log has of it stays.
    pub(crate) fn remove(&mut self, target: &Target) -> Result<bool, Failure> {
        let before = self.all.len();
        self.all.retain(|known| known != target);
        if self.all.len() == before {
            return Ok(false);
        }
        self.write()?;
        Ok(true)
    }

    fn write(&self) -> Result<(), Failure> {
        let lines: String = self
            .all
            .iter()
            .map(|target| format!("{target}\n"))
            .collect();
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, lines)?;
        fs::rename(&fresh, &self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let mut targets = Targets::of(dir.path()).unwrap();
        let target: Target = "github:golang/go".parse().unwrap();
        assert!(targets.add(target.clone()).unwrap() && !targets.add(target.clone()).unwrap());
        assert_eq!(
            Targets::of(dir.path()).unwrap().all(),
            std::slice::from_ref(&target)
        );
        assert!(targets.remove(&target).unwrap() && !targets.remove(&target).unwrap());
        assert!(Targets::of(dir.path()).unwrap().all().is_empty());
        fs::write(dir.path().join("targets"), "# mine\n\nnonsense\n").unwrap();
        let error = Targets::of(dir.path()).unwrap_err().message("x").unwrap();
        assert!(error.contains("nonsense"), "{error}");
    }
}
