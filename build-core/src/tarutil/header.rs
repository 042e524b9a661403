//! One archive entry's description, and its encoding: ustar where it fits, else pax.

use tar::{EntryType, Header};

/// Size of a tar block in bytes; headers and content are padded to it.
pub(crate) const BLOCK: usize = 512;

/// The largest number an octal field of 8 or 12 bytes holds, terminator included.
const OCTAL_8: u64 = 0o7_777_777;
const OCTAL_12: u64 = 0o77_777_777_777;

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
    /// Rounded to the nearest second, as archives without sub-second records hold it.
    pub(crate) fn rounded(self) -> i64 {
        self.seconds
            .saturating_add(i64::from(self.nanos >= 500_000_000))
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

    /// The header blocks: one ustar block, before it pax records for what ustar cannot hold.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let block = self.ustar(&mut records);
        let mut out = Vec::with_capacity(BLOCK * if records.is_empty() { 1 } else { 4 });
        if !records.is_empty() {
            out.extend_from_slice(&pax_block(&self.path, records.len()));
            out.extend_from_slice(&records);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        out.extend_from_slice(&block);
        out
    }

    fn ustar(&self, records: &mut Vec<u8>) -> [u8; BLOCK] {
        let mut header = Header::new_ustar();
        set_name(&mut header, &self.path, records);
        header.set_entry_type(self.entry_type());
        header.set_mode(self.mode);
        header.set_uid(fitting(self.uid, OCTAL_8, "uid", records));
        header.set_gid(fitting(self.gid, OCTAL_8, "gid", records));
        header.set_size(fitting(self.size, OCTAL_12, "size", records));
        let seconds = self.modified.rounded();
        match u64::try_from(seconds) {
            Ok(mtime) => header.set_mtime(fitting(mtime, OCTAL_12, "mtime", records)),
            Err(_) => {
                record(records, "mtime", seconds.to_string().as_bytes());
                header.set_mtime(0);
            }
        }
        self.set_details(&mut header, records);
        header.set_cksum();
        *header.as_bytes()
    }

    fn set_details(&self, header: &mut Header, records: &mut Vec<u8>) {
        if let EntryKind::Symlink(target) | EntryKind::HardLink(target) = &self.kind
            && !place(&mut header.as_old_mut().linkname, target)
        {
            record(records, "linkpath", target);
        }
        let Some(ustar) = header.as_ustar_mut() else {
            return;
        };
        if !place(&mut ustar.uname, &self.user) {
            record(records, "uname", &self.user);
        }
        if !place(&mut ustar.gname, &self.group) {
            record(records, "gname", &self.group);
        }
        if let EntryKind::CharDevice(major, minor) | EntryKind::BlockDevice(major, minor) =
            self.kind
        {
            ustar.set_device_major(major);
            ustar.set_device_minor(minor);
        }
    }

    fn entry_type(&self) -> EntryType {
        match self.kind {
            EntryKind::File => EntryType::Regular,
            EntryKind::Dir => EntryType::Directory,
            EntryKind::Symlink(_) => EntryType::Symlink,
            EntryKind::HardLink(_) => EntryType::Link,
            EntryKind::Fifo => EntryType::Fifo,
            EntryKind::CharDevice(..) => EntryType::Char,
            EntryKind::BlockDevice(..) => EntryType::Block,
            EntryKind::Global => EntryType::XGlobalHeader,
            EntryKind::Sparse => EntryType::GNUSparse,
            EntryKind::Other(flag) => EntryType::new(flag),
        }
    }
}

/// The zero bytes that follow content of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    let block = BLOCK as u64;
    ((block - size % block) % block) as usize
}

/// Puts `value` into a NUL-padded ASCII field; `false` when it does not fit (field untouched).
fn place(field: &mut [u8], value: &[u8]) -> bool {
    let fits = value.len() <= field.len() && value.is_ascii() && !value.contains(&0);
    if fits {
        field[..value.len()].copy_from_slice(value);
    }
    fits
}

/// Name into the `name` field, else split over `prefix` and `name`, else as a pax record.
fn set_name(header: &mut Header, path: &[u8], records: &mut Vec<u8>) {
    if place(&mut header.as_old_mut().name, path) {
        return;
    }
    let Some(ustar) = header.as_ustar_mut() else {
        return;
    };
    if let Some(slash) = split_point(path).filter(|_| path.is_ascii() && !path.contains(&0)) {
        ustar.prefix[..slash].copy_from_slice(&path[..slash]);
        place(&mut ustar.name, &path[slash + 1..]);
        return;
    }
    record(records, "path", path);
    let fallback: Vec<u8> = path
        .iter()
        .copied()
        .filter(u8::is_ascii)
        .take(ustar.name.len())
        .collect();
    place(&mut ustar.name, &fallback);
}

/// Where a long name can be cut: at a slash, at most 155 bytes before and 1 to 100 after it.
fn split_point(path: &[u8]) -> Option<usize> {
    let end = path.len().min(156);
    let slash = path[..end]
        .iter()
        .rposition(|&b| b == b'/')
        .filter(|&i| i > 0)?;
    // A directory's final slash is part of its name.
    let slash = if slash + 1 == path.len() {
        path[..slash]
            .iter()
            .rposition(|&b| b == b'/')
            .filter(|&i| i > 0)?
    } else {
        slash
    };
    (path.len() - slash - 1 <= 100).then_some(slash)
}

fn fitting(value: u64, most: u64, key: &str, records: &mut Vec<u8>) -> u64 {
    if value <= most {
        return value;
    }
    record(records, key, value.to_string().as_bytes());
    0
}

/// One pax record: its decimal length (which counts itself), a space, `key=value`, a newline.
pub(crate) fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn pax_block(path: &[u8], size: usize) -> [u8; BLOCK] {
    let mut header = Header::new_ustar();
    let mut name = Vec::with_capacity(100);
    let base = path
        .split(|&b| b == b'/')
        .rfind(|part| !part.is_empty())
        .unwrap_or_default();
    name.extend_from_slice(b"PaxHeaders.0/");
    name.extend(
        base.iter()
            .copied()
            .filter(|b| b.is_ascii() && *b != 0)
            .take(80),
    );
    place(&mut header.as_old_mut().name, &name);
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header.set_cksum();
    *header.as_bytes()
}
