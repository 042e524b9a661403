//! Links that lead out, and what is then written through them.

use super::build::Tar;
use super::{Hostile, harmless, refused};
use crate::tarutil::header::{EntryHeader, EntryKind};

const OUTSIDE: &str = "is a link that points outside";

fn tar() -> Tar {
    Tar::default()
}

pub(super) const CASES: &[Hostile] = &[
    refused("symlink to an absolute path", OUTSIDE, || {
        tar().symlink("l", "/etc/passwd").gz()
    }),
    refused("symlink to the parent", OUTSIDE, || {
        tar().symlink("l", "..").gz()
    }),
    refused("symlink up and down again", OUTSIDE, || {
        tar().symlink("d/l", "../../outside").gz()
    }),
    refused("symlink to a process's root", OUTSIDE, || {
        tar().symlink("l", "/proc/self/root").gz()
    }),
    refused("symlink to nothing", OUTSIDE, || {
        tar().symlink("l", "").gz()
    }),
    refused("symlink up after a name that is missing", OUTSIDE, || {
        tar().symlink("l", "missing/../../outside").gz()
    }),
    refused("symlink, then a file through it", OUTSIDE, || {
        tar()
            .symlink("d", "../outside")
            .file("d/evil", b"evil")
            .gz()
    }),
    refused(
        "file through a symlink of the same archive",
        "error writing to",
        || {
            tar()
                .dir("real")
                .symlink("d", "real")
                .file("d/evil", b"evil")
                .gz()
        },
    ),
    refused("symlinks that lead out only together", OUTSIDE, || {
        tar()
            .dir("d")
            .symlink("d/s", ".")
            .symlink("d/l", "s/../../outside")
            .gz()
    }),
    refused("symlink below a symlink that shifts it", OUTSIDE, || {
        tar()
            .symlink("s", ".")
            .symlink("s/d/l", "../../outside")
            .gz()
    }),
    refused("symlink by a pax record", OUTSIDE, || {
        tar()
            .pax(&[("linkpath", "/etc")])
            .symlink("l", "inside")
            .gz()
    }),
    refused("symlink by a GNU long link", OUTSIDE, || {
        tar().record(b'K', b"/etc\0").symlink("l", "inside").gz()
    }),
    refused("symlink as the directory itself", "invalid name", || {
        tar().symlink(".", "/etc").gz()
    }),
    refused("symlink over a directory", "error writing to", || {
        tar().file("d/f", b"x").symlink("d", "e").gz()
    }),
    refused("hard link to an absolute path", OUTSIDE, || {
        tar().hard_link("h", "/etc/passwd").gz()
    }),
    refused("hard link to the parent", OUTSIDE, || {
        tar().hard_link("h", "../outside/canary").gz()
    }),
    refused("hard link out, then a file over it", OUTSIDE, || {
        tar()
            .hard_link("h", "../outside/canary")
            .file("h", b"evil")
            .gz()
    }),
    refused("hard link by a pax record", OUTSIDE, || {
        tar()
            .pax(&[("linkpath", "/etc/passwd")])
            .hard_link("h", "f")
            .gz()
    }),
    refused("hard link to nothing", OUTSIDE, || {
        tar().hard_link("h", "").gz()
    }),
    refused("hard link that moves a symlink", OUTSIDE, || {
        tar()
            .dir("d")
            .symlink("d/s", "../f")
            .hard_link("h", "d/s")
            .gz()
    }),
    refused("hard link to what is missing", "error writing to", || {
        tar().hard_link("h", "missing").gz()
    }),
    refused("hard link to a directory", "error writing to", || {
        tar().dir("d").hard_link("h", "d").gz()
    }),
    refused("hard link to the directory itself", OUTSIDE, || {
        tar().hard_link("h", ".").gz()
    }),
    refused(
        "more names of links than memory",
        "bytes of link names",
        || {
            let target = "t".repeat(1000);
            (0..500)
                .fold(tar(), |tar, i| tar.symlink(&format!("l{i}"), &target))
                .gz()
        },
    ),
    refused("file over a directory", "error writing to", || {
        tar().dir("x/y").file("x", b"evil").gz()
    }),
    refused("directory over a file", "error writing to", || {
        tar().file("x", b"f").dir("x").gz()
    }),
    refused("file below a file", "error writing to", || {
        tar().file("x", b"f").file("x/y", b"evil").gz()
    }),
    harmless("hard link to itself", || {
        tar().file("h", b"x").hard_link("h", "h").gz()
    }),
    harmless("symlink to itself", || tar().symlink("l", "l").gz()),
    harmless("symlinks in a circle", || {
        tar().symlink("a", "b").symlink("b", "a").gz()
    }),
    harmless("symlink to what is missing", || {
        tar().symlink("l", "missing/file").gz()
    }),
    harmless("symlink, then a file of its name", || {
        tar().symlink("x", "y").file("x", b"file").gz()
    }),
    harmless("file, then a symlink of its name", || {
        tar().file("x", b"file").symlink("x", "y").gz()
    }),
    harmless("the same file a hundred times", || {
        (0..100).fold(tar(), |tar, i| tar.file("x", &[i])).gz()
    }),
    harmless("hard link to a symlink", || {
        tar()
            .symlink("s", "f")
            .file("f", b"x")
            .hard_link("h", "s")
            .gz()
    }),
    harmless("symlink with content", || {
        tar()
            .patched("l", b"", |block| {
                block[156] = b'2';
                block[157..160].copy_from_slice(b"abc");
                block[124..135].copy_from_slice(b"77777777777");
            })
            .gz()
    }),
    harmless("set-user-id and sticky bits", || {
        tar()
            .entry(EntryHeader::file("x", 0).mode(0o7777), b"x")
            .gz()
    }),
    harmless("directory without permissions", || {
        tar()
            .entry(
                EntryHeader {
                    mode: 0,
                    ..EntryHeader::new("d/", EntryKind::Dir)
                },
                b"",
            )
            .file("d/f", b"x")
            .gz()
    }),
];
