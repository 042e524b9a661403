//! What readers note for themselves: how far they read, what a host said last.
//!
//! Notes are no part of the log. A reader that lost them asks its host more, and finds the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where notes are kept, by the name of their reader.
pub trait Notes: Send + Sync {
    /// The notes of a reader, if it has any.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the notes of a reader, all or nothing.
    ///
    /// # Errors
    /// When they cannot be written: they are then as they were.
    fn save(&self, name: &str, notes: &[u8]) -> io::Result<()>;
}

/// Notes as files of a folder.
#[derive(Debug, Clone)]
pub struct NotesFolder {
    folder: PathBuf,
}

impl NotesFolder {
    /// In `folder`, which is made when needed.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.json", escaped(name)))
    }
}

/// A name as the name of a file: all but letters, digits, `.`, `-` and `_` as `%` and two
/// hexadecimal digits, as in URLs.
pub fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(byte.into()),
            // Never first, so that no name is hidden or means a folder.
            b'.' if !text.is_empty() => text.push('.'),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

impl Notes for NotesFolder {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(name)) {
            Ok(notes) => Ok(Some(notes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, name: &str, notes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.path(name);
        let fresh = path.with_extension("new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(notes)?;
        file.sync_data()?;
        fs::rename(&fresh, &path)
    }
}

/// Notes in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryNotes {
    notes: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Notes for MemoryNotes {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(notes.get(name).cloned())
    }

    fn save(&self, name: &str, notes: &[u8]) -> io::Result<()> {
        let mut all = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), notes.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let notes = NotesFolder::new(dir.path().join("notes"));
        assert_eq!(notes.load("github:o/r").unwrap(), None);
        notes.save("github:o/r", b"1").unwrap();
        notes.save("github:o/r", b"2").unwrap();
        assert_eq!(
            notes.load("github:o/r").unwrap().as_deref(),
            Some(&b"2"[..])
        );
        assert!(dir.path().join("notes/github%3Ao%2Fr.json").exists());
    }

    #[test]
    fn names_stay_in_their_folder() {
        assert_eq!(escaped("../x"), "%2E.%2Fx");
        assert_eq!(
            escaped("go.googlesource.com/go"),
            "go.googlesource.com%2Fgo"
        );
    }
}
