//! Names that lead out, that no file can have, or that mean something else elsewhere.

use super::build::{Tar, at};
use super::{Hostile, Stream, harmless, refused};
use crate::tarutil::header::EntryHeader;

const INVALID: &str = "tar file contained invalid name";

fn named(name: &str) -> Stream {
    Tar::default()
        .file("innocent", b"first")
        .file(name, b"evil")
        .gz()
}

fn pax_named(name: &str) -> Stream {
    Tar::default()
        .pax(&[("path", name)])
        .file("innocent", b"evil")
        .gz()
}

pub(super) const CASES: &[Hostile] = &[
    refused("parent", INVALID, || named("../evil")),
    refused("parent below a directory", INVALID, || {
        named("a/../../evil")
    }),
    refused("parent alone", INVALID, || named("..")),
    refused("many parents", INVALID, || named(&"../".repeat(20))),
    refused("the directory itself as a file", INVALID, || named("a/..")),
    refused("dot as a file", INVALID, || named(".")),
    refused("absolute", INVALID, || named("/tmp/evil")),
    refused("absolute with two slashes", INVALID, || named("//tmp/evil")),
    refused("absolute directory", INVALID, || {
        Tar::default().dir("/tmp/evil").gz()
    }),
    refused("parent directory", INVALID, || {
        Tar::default().dir("../evil").gz()
    }),
    refused("backslashes", INVALID, || named("..\\..\\evil")),
    refused("empty", INVALID, || named("")),
    refused("parent in the prefix field", INVALID, || {
        Tar::default().patched("evil", b"x", at(345, b"..")).gz()
    }),
    refused("absolute prefix field", INVALID, || {
        Tar::default().patched("evil", b"x", at(345, b"/tmp")).gz()
    }),
    refused("parent in a pax record", INVALID, || pax_named("../evil")),
    refused("absolute in a pax record", INVALID, || {
        pax_named("/tmp/evil")
    }),
    refused("NUL in a pax record", INVALID, || pax_named("a\0b")),
    refused("parent in a GNU long name", INVALID, || {
        Tar::default()
            .record(b'L', b"../evil\0")
            .file("innocent", b"evil")
            .gz()
    }),
    refused("component too long", INVALID, || named(&"x".repeat(256))),
    refused("path too long", INVALID, || named(&"x/".repeat(3000))),
    refused("path too deep", INVALID, || named(&"d/".repeat(500))),
    refused("directory too deep", INVALID, || {
        Tar::default().dir(&"d/".repeat(101)).gz()
    }),
    refused("Windows device", INVALID, || named("CON")),
    refused("Windows device with an extension", INVALID, || {
        named("dir/aux.txt")
    }),
    refused("Windows printer", INVALID, || named("lpt1")),
    refused("Windows drive", INVALID, || named("C:evil")),
    refused("Windows stream", INVALID, || named("file:stream")),
    refused("Windows drops the final dot", INVALID, || named("evil.")),
    refused("Windows drops the final space", INVALID, || named("evil ")),
    refused("control character", INVALID, || named("a\u{7}b")),
    harmless("not UTF-8", || {
        Tar::default()
            .entry(EntryHeader::file(b"\xff\xfe\x80".to_vec(), 0), b"x")
            .gz()
    }),
    harmless("looks like an overlong slash", || {
        Tar::default()
            .entry(EntryHeader::file(b"..\xc0\xafevil".to_vec(), 0), b"x")
            .gz()
    }),
    harmless("dots that are a name", || named("...x/....x")),
    harmless("a tilde and a dollar", || named("~/$HOME")),
    harmless("begins with a dash", || named("-rf")),
];
