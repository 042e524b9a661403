//! Archives and gzip streams against GNU tar and gzip, in both directions.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use build_core::tarutil::{GzipOptions, Pack, PargzipWriter, Untar};

/// Whether a tool is there. Says so loudly when it is not; where `CI=true` that is a failure.
fn has(tool: &str) -> bool {
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{tool} is needed for this test"
        );
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}

/// Runs a tool with `input` on its standard input and gives back its standard output.
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

/// A tree with what archives have trouble with.
fn make_tree(dir: &Path) {
    let long = "a long directory name/".repeat(12);
    std::fs::create_dir_all(dir.join(&long)).unwrap();
    std::fs::create_dir_all(dir.join("empty")).unwrap();
    std::fs::write(dir.join(&long).join("x".repeat(200)), "deep").unwrap();
    std::fs::write(dir.join("größe\nzwei Zeilen"), vec![9; 70_000]).unwrap();
    std::fs::write(dir.join("empty file"), "").unwrap();
    std::fs::write(dir.join("block"), [1; 512]).unwrap();
    std::os::unix::fs::symlink("empty file", dir.join("link")).unwrap();
    std::os::unix::fs::symlink(
        format!("../{long}{}", "x".repeat(200)),
        dir.join("empty/far"),
    )
    .unwrap();
    std::fs::hard_link(dir.join("block"), dir.join("second name")).unwrap();
    let script = dir.join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
}

/// Names, types, permissions, targets and content, in our own archive form.
fn picture(dir: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    Pack::open(dir)
        .unwrap()
        .deterministic()
        .write_tar(&mut archive)
        .unwrap();
    archive
}

#[test]
fn gnu_tar_unpacks_what_we_pack() {
    if !has("tar") {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_tree(from.path());
    let mut archive = Vec::new();
    Pack::open(from.path())
        .unwrap()
        .write_gz(&mut archive, &GzipOptions::default().chunk(10_000))
        .unwrap();
    run(
        Command::new("tar")
            .arg("xzf")
            .arg("-")
            .arg("-C")
            .arg(to.path()),
        &archive,
    );
    assert!(
        picture(from.path()) == picture(to.path()),
        "the trees differ"
    );
    let times = |dir: &Path| dir.join("script").metadata().unwrap().modified().unwrap();
    let apart = times(from.path()).duration_since(times(to.path()));
    let apart = apart.unwrap_or_else(|error| error.duration());
    // Whole seconds, rounded down.
    assert!(apart.as_millis() < 1000, "{apart:?}");
}

#[test]
fn we_unpack_what_gnu_tar_packs() {
    if !has("tar") {
        return;
    }
    let from = tempfile::tempdir().unwrap();
    make_tree(from.path());
    for format in ["gnu", "pax"] {
        let to = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar");
        tar.arg("czf")
            .arg("-")
            .arg(format!("--format={format}"))
            .arg("-C")
            .arg(from.path())
            .arg(".");
        let archive = run(&mut tar, b"");
        let done = Untar::open(to.path())
            .unwrap()
            .unpack(archive.as_slice())
            .unwrap();
        assert_eq!(done.links, 3, "two symbolic, one hard");
        assert!(
            picture(from.path()) == picture(to.path()),
            "{format}: the trees differ"
        );
    }
}

#[test]
fn gzip_restores_what_many_threads_compressed() {
    if !has("gzip") {
        return;
    }
    let text: Vec<u8> = (0..2_000_000_u32)
        .flat_map(|i| format!("{i}\n").into_bytes())
        .collect();
    let packed = std::thread::scope(|scope| {
        let mut gzip = PargzipWriter::new(
            scope,
            Vec::new(),
            &GzipOptions::default().level(1).threads(3),
        )
        .unwrap();
        gzip.write_all(&text).unwrap();
        gzip.finish().unwrap()
    });
    assert!(
        run(Command::new("gzip").arg("-dc"), &packed) == text,
        "the texts differ"
    );
}

#[test]
fn a_packed_socket_is_refused_and_a_single_file_has_its_base_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.txt");
    std::fs::write(&file, "fine").unwrap();
    let mut archive = Vec::new();
    Pack::open(&file)
        .unwrap()
        .write_gz(&mut archive, &GzipOptions::default())
        .unwrap();
    let to = tempfile::tempdir().unwrap();
    Untar::open(to.path())
        .unwrap()
        .unpack(archive.as_slice())
        .unwrap();
    let mut text = String::new();
    std::fs::File::open(to.path().join("report.txt"))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "fine");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let error = Pack::open(dir.path())
        .unwrap()
        .write_tar(std::io::sink())
        .unwrap_err();
    assert_eq!(error.to_string(), "socket is a socket");
    let kept = Pack::open(dir.path())
        .unwrap()
        .exclude("socket")
        .write_tar(std::io::sink())
        .unwrap();
    assert_eq!(kept.entries, 1);
    assert!(Pack::open(dir.path().join("missing")).is_err());
}
