//! The file system of a command in namespaces: the machine's, read-only, without what is hidden.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::fence::Fence;

/// Where the machine's own file system is while the command's is made.
const OLD: &str = "/old";
/// Where that is made.
const NEW: &str = "/new";
/// Directories one of which is there on every machine, to stand on.
const FOOTHOLDS: [&str; 5] = ["/tmp", "/run", "/mnt", "/media", "/var"];
/// Devices that programs count on.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Room in what stands for a hidden directory.
const EMPTY: &str = "mode=0755,size=1m,nr_inodes=4k";

/// How something is seen.
enum Seen {
    Read,
    Write,
    Layer(PathBuf),
}

struct Entry {
    source: PathBuf,
    target: PathBuf,
    seen: Seen,
}

/// Makes the file system of this mount namespace that of the fence.
///
/// # Errors
/// What could not be done, in one sentence; nothing may be run then.
pub(super) fn build(fence: &Fence) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("sandbox: {what}: {error}")
    };
    stand_aside().map_err(failed("leave the machine's file system"))?;
    for hidden in sorted(fence.hidden.clone()) {
        let target = inside(NEW, &hidden);
        if target.is_dir() {
            let what = format!("hide {}", hidden.display());
            empty(&target, EMPTY).map_err(failed(&what))?;
        }
    }
    for entry in entries(fence) {
        let what = format!("show {}", entry.target.display());
        show(&entry).map_err(failed(&what))?;
    }
    devices(fence.bounds.memory_bytes).map_err(failed("make /dev"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let proc = mount("proc", "/new/proc", "proc", flags, None::<&std::ffi::CStr>);
    proc.map_err(|error| failed("mount /proc")(error.into()))?;
    read_only(fence).map_err(failed("make it read-only"))?;
    step_inside().map_err(failed("enter it"))
}

/// Makes a file system of memory the root, with the machine's at [`OLD`] and again at [`NEW`].
fn stand_aside() -> io::Result<()> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let foothold = FOOTHOLDS.iter().map(Path::new).find(|dir| dir.is_dir());
    let foothold = foothold.ok_or_else(|| io::Error::other("no directory to stand on"))?;
    empty(foothold, "mode=0755")?;
    for dir in [OLD, NEW] {
        fs::create_dir(inside_of(foothold, dir))?;
    }
    pivot_root(foothold, inside_of(foothold, OLD))?;
    chdir("/")?;
    Ok(mount_bind_recursive(OLD, NEW)?)
}

/// Makes [`NEW`] the root, and nothing else is there any more.
fn step_inside() -> io::Result<()> {
    chdir(NEW)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(chdir("/")?)
}

fn empty(target: &Path, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("tmpfs", target, "tmpfs", flags, Some(&*options))?)
}

/// An absolute path below another root.
fn inside(root: &str, path: &Path) -> PathBuf {
    inside_of(Path::new(root), path)
}

fn inside_of(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    root.join(path.as_ref().strip_prefix("/").unwrap_or(path.as_ref()))
}

fn sorted(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort_by_key(|path| path.components().count());
    paths
}

/// What is shown, the outer before the inner.
fn entries(fence: &Fence) -> Vec<Entry> {
    let same = |path: &PathBuf, seen| Entry {
        source: path.clone(),
        target: path.clone(),
        seen,
    };
    let mut entries = Vec::new();
    if fence.tmp != Path::new("") {
        entries.extend(["/tmp", "/var/tmp"].map(|target| Entry {
            source: fence.tmp.clone(),
            target: target.into(),
            seen: Seen::Write,
        }));
    }
    let readable = fence.readable.iter().filter(|path| fence.hides(path));
    entries.extend(readable.map(|path| same(path, Seen::Read)));
    entries.extend(fence.layered.iter().enumerate().map(|(number, path)| {
        let layer = fence.layers.join(number.to_string());
        same(path, Seen::Layer(layer))
    }));
    let writable = fence.writable.iter().chain(&fence.shared);
    entries.extend(writable.map(|path| same(path, Seen::Write)));
    entries.retain(|entry| inside(OLD, &entry.source).exists());
    entries.sort_by_key(|entry| entry.target.components().count());
    entries
}

fn show(entry: &Entry) -> io::Result<()> {
    let source = inside(OLD, &entry.source);
    let target = inside(NEW, &entry.target);
    if !target.exists() {
        make(&target, source.is_dir())?;
    }
    if let Seen::Layer(layer) = &entry.seen
        && source.is_dir()
        && layered(&source, &inside(OLD, layer), &target).is_ok()
    {
        return Ok(());
    }
    mount_bind_recursive(&source, &target)?;
    match entry.seen {
        Seen::Write => Ok(()),
        // Where there are no layers it is read.
        Seen::Read | Seen::Layer(_) => lock(&target),
    }
}

fn make(target: &Path, is_dir: bool) -> io::Result<()> {
    if is_dir {
        return fs::create_dir_all(target);
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create(target).map(drop)
}

/// Shows a directory with a layer over it that takes what is written.
fn layered(lower: &Path, layer: &Path, target: &Path) -> io::Result<()> {
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let mut options = OsString::from("userxattr");
    for (name, path) in [
        ("lowerdir", lower),
        ("upperdir", &upper),
        ("workdir", &work),
    ] {
        if path
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|b| b",:\\\"".contains(b))
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        options.push(format!(",{name}="));
        options.push(path);
    }
    let options = std::ffi::CString::new(options.into_vec())?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("overlay", target, "overlay", flags, Some(&*options))?)
}

/// Makes `/dev`. Files in memory have room for twice the memory of the command, which whoever counts
/// that sees; without a bound, for half of the machine's.
fn devices(memory_bytes: Option<u64>) -> io::Result<()> {
    let dev = Path::new("/new/dev");
    empty(dev, "mode=0755,nr_inodes=4k,size=1m")?;
    for name in DEVICES {
        let source = inside(OLD, Path::new("/dev")).join(name);
        if source.exists() {
            fs::File::create(dev.join(name))?;
            mount_bind_recursive(&source, dev.join(name))?;
        }
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name))?;
    }
    for name in ["shm", "pts"] {
        fs::create_dir(dev.join(name))?;
    }
    let size = memory_bytes.map(|bytes| format!(",size={}", bytes.saturating_mul(2)));
    let options = format!("mode=1777{}", size.unwrap_or_default());
    empty(&dev.join("shm"), &options)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620";
    // Without terminals of its own a build still runs.
    let _ = mount("devpts", dev.join("pts"), "devpts", flags, Some(options));
    Ok(())
}

/// Makes every mount read-only that is not the command's own.
fn read_only(fence: &Fence) -> io::Result<()> {
    let table = fs::read("/old/proc/self/mountinfo")?;
    let mut own: Vec<PathBuf> = ["/proc", "/dev", "/tmp", "/var/tmp"]
        .map(PathBuf::from)
        .into();
    let lists = [
        &fence.writable,
        &fence.shared,
        &fence.layered,
        &fence.hidden,
    ];
    own.extend(lists.into_iter().flatten().cloned());
    // What is only read may lie in something that is hidden, and is locked already.
    for point in table.split(|&b| b == b'\n').filter_map(mount_point) {
        let Ok(path) = point.strip_prefix(NEW) else {
            continue;
        };
        if own
            .iter()
            .any(|own| Path::new("/").join(path).starts_with(own))
        {
            continue;
        }
        match lock(&point) {
            // Nobody can reach it by this name.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Makes one mount read-only; what it forbids already stays forbidden.
fn lock(point: &Path) -> io::Result<()> {
    let has = statvfs(point)?.f_flag;
    let flags = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let kept = flags.iter().filter(|(seen, _)| has.contains(*seen));
    let kept = kept.fold(MountFlags::empty(), |all, (_, flag)| all | *flag);
    let flags = MountFlags::BIND | MountFlags::RDONLY | kept;
    Ok(mount_remount(point, flags, c"")?)
}

/// The fifth field of a line of `mountinfo`, its octal escapes undone.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|&b| b == b' ').nth(4)?;
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, more)) = rest.split_first() {
        let escaped = more.get(..3).filter(|_| first == b'\\');
        let byte = escaped
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &more[3..] } else { more };
    }
    Some(OsString::from_vec(path).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_with_blanks_are_read() {
        let line = b"36 35 98:0 /x /mnt/a\\040b\\134c rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some("/mnt/a b\\c".into()));
        assert_eq!(mount_point(b""), None);
    }
}
