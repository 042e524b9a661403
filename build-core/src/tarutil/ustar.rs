//! Encoding of entry headers: ustar where it fits, else pax records before it.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::header::{BLOCK, EntryHeader, EntryKind};
use super::pax::record;

/// The largest number an octal field of 8 or 12 bytes holds, terminator included.
const OCTAL_8: u64 = 0o7_777_777;
const OCTAL_12: u64 = 0o77_777_777_777;

impl EntryHeader {
    /// Writes the entry: this header, and as many bytes of `content` as it says.
    ///
    /// An archive is entries one after the other and an end mark, as [`Pack::write_tar`] and
    /// [`FileList::open`] write it after entries of their own.
    ///
    /// [`Pack::write_tar`]: super::Pack::write_tar
    /// [`FileList::open`]: super::FileList::open
    ///
    /// # Errors
    /// Those of `content` and `out`; [`io::ErrorKind::UnexpectedEof`] when `content` is shorter.
    pub fn write(&self, content: impl Read, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        out.write_all(&self.head_blocks())?;
        let copied = io::copy(&mut content.take(self.size), out)?;
        if copied < self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.write_all(&[0; BLOCK][..padding(self.size)])
    }

    /// The header blocks: one ustar block, before it pax records for what ustar cannot hold. The
    /// content follows, and zeros up to a whole number of 512 bytes.
    pub fn head_blocks(&self) -> Vec<u8> {
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
        let seconds = self.modified.whole_seconds();
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
