//! One archive entry's description.

/// Size of a tar block in bytes; headers and content are padded to it.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file; its content follows the header.
    File,
    /// A directory.
    Dir,
    /// A symbolic link with this target.
    Symlink(Vec<u8>),
    /// A hard link to the entry of this name.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A pax global header (`g`): defaults for later entries, as `git archive` writes one.
    Global,
    /// A sparse file in one of GNU's encodings.
    Sparse,
    /// Another type flag.
    Other(u8),
}

/// A point in time: seconds since 1970 and nanoseconds within that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Modified {
    /// Whole seconds since 1970-01-01 UTC, negative before.
    pub seconds: i64,
    /// Nanoseconds added to `seconds`, below 1,000,000,000.
    pub nanos: u32,
}

impl Modified {
    /// As archives without sub-second records hold it: rounded down. To the nearest second, what
    /// was made just now would come from the future, and a source that changes at once would look
    /// older than what was made of it.
    pub(crate) fn whole_seconds(self) -> i64 {
        self.seconds
    }
}

/// The description of one archive entry, without content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) modified: Modified,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) user: Vec<u8>,
    pub(crate) group: Vec<u8>,
}

impl EntryHeader {
    /// An entry of `kind` at `path` (`/`-separated), mode 0644, time 1970, owner 0, no content.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind) -> Self {
        Self {
            path: path.into(),
            kind,
            mode: 0o644,
            size: 0,
            modified: Modified::default(),
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
        }
    }

    /// A regular file of `size` bytes.
    pub fn file(path: impl Into<Vec<u8>>, size: u64) -> Self {
        Self {
            size,
            ..Self::new(path, EntryKind::File)
        }
    }

    /// A directory with mode 0755; a missing final `/` is added to its name.
    pub fn dir(path: impl Into<Vec<u8>>) -> Self {
        let mut path = path.into();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        Self {
            mode: 0o755,
            ..Self::new(path, EntryKind::Dir)
        }
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self {
            mode: 0o777,
            ..Self::new(path, EntryKind::Symlink(target.into()))
        }
    }

    /// With these permission bits (the low twelve).
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self {
            mode: mode & 0o7777,
            ..self
        }
    }

    /// With this modification time.
    #[must_use]
    pub fn modified(self, modified: Modified) -> Self {
        Self { modified, ..self }
    }

    /// With these owner ids.
    #[must_use]
    pub fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }

    /// The name as it stands in the archive.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// What the entry is.
    pub fn kind(&self) -> &EntryKind {
        &self.kind
    }

    /// Bytes of content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Without anything that differs between machines: time and owner become 0.
    pub(crate) fn anonymous(self) -> Self {
        let modified = Modified::default();
        Self {
            modified,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            ..self
        }
    }
}
