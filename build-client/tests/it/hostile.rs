//! Archives that are damaged or made to do harm: none becomes a toolchain.

use std::io::{Cursor, Read as _, Write as _};

use build_client::testing::go_archive;
use build_client::toolchain::Platform;
use build_client::{Error, ErrorKind};
use build_core::tarutil::{EntryHeader, EntryKind, FileList, hostile};
use zip::write::SimpleFileOptions;

use super::toolchain::{Story, read, spec};

/// Nothing but sdk/.farmer may have been written, and no toolchain be there.
async fn refused(story: &Story, name: &str) -> Error {
    let outside = story.home.path().join("outside");
    std::fs::write(&outside, "untouched").unwrap();
    let error = story.download(name).await.unwrap_err();
    assert_eq!(read(&outside), "untouched");
    assert!(
        !story.home.path().join("sdk").join(name).exists(),
        "{}",
        error.chain()
    );
    let sdk = std::fs::read_dir(story.home.path().join("sdk")).unwrap();
    assert_eq!(sdk.count(), 1, "{}", error.chain());
    assert_eq!(std::fs::read_dir(story.home.path()).unwrap().count(), 2);
    assert!(
        story.names_of_work().is_empty(),
        "{:?} after {}",
        story.names_of_work(),
        error.chain()
    );
    error
}

#[tokio::test]
async fn a_damaged_archive_never_becomes_a_toolchain() {
    let story = Story::new();
    let path = "go1.9.linux-amd64.tar.gz";
    let whole = go_archive("go1.9", 5_000).unwrap();
    for (what, sum) in [
        ("0".repeat(64), "corrupt?"),
        ("junk".to_owned(), "no SHA-256"),
    ] {
        story.mirror.put_archive(path, whole.clone());
        story.mirror.put(&format!("{path}.sha256"), what);
        let error = refused(&story, "go1.9").await;
        assert!(error.chain().contains(sum), "{}", error.chain());
    }
    // Torn at every kind of place, with a checksum that fits.
    for cut in [
        0,
        1,
        9,
        20,
        whole.len() / 2,
        whole.len() - 9,
        whole.len() - 1,
    ] {
        story.mirror.put_archive(path, &whole[..cut]);
        assert_eq!(
            refused(&story, "go1.9").await.kind(),
            ErrorKind::Corrupt,
            "cut at {cut}"
        );
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    story.mirror.put_archive(path, flipped);
    assert_eq!(refused(&story, "go1.9").await.kind(), ErrorKind::Corrupt);
    // Of another toolchain, whole as it is.
    let mut list = FileList::new();
    list.add_bytes(EntryHeader::file("node/bin/node", 0), "x");
    let mut other = Vec::new();
    list.open_gz().read_to_end(&mut other).unwrap();
    story.mirror.put_archive(path, other);
    assert!(
        refused(&story, "go1.9")
            .await
            .chain()
            .contains("holds node beside go")
    );
    story.mirror.put_archive(path, whole);
    story.download("go1.9").await.unwrap();
}

#[tokio::test]
async fn a_hostile_archive_never_becomes_a_toolchain() {
    let story = Story::new();
    let mut tried = 0;
    for case in hostile::archives() {
        let mut archive = Vec::new();
        case.open()
            .take(32 << 10)
            .read_to_end(&mut archive)
            .unwrap();
        if archive.len() == 32 << 10 {
            continue; // Bombs of many bytes: tarutil's own tests read them whole.
        }
        story
            .mirror
            .put_archive("go1.9.linux-amd64.tar.gz", archive);
        refused(&story, "go1.9").await;
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
}

fn packed(entries: &[(EntryHeader, &str)]) -> Vec<u8> {
    let mut list = FileList::new();
    for (header, content) in entries {
        match header.kind() {
            EntryKind::File => list.add_bytes(header.clone(), (*content).to_owned()),
            _ => list.add(header.clone()),
        };
    }
    let mut archive = Vec::new();
    list.open_gz().read_to_end(&mut archive).unwrap();
    archive
}

#[tokio::test]
async fn links_and_names_do_not_lead_out_of_a_toolchain() {
    let story = Story::new();
    let go = |header, content| packed(&[(EntryHeader::dir("go/bin"), ""), (header, content)]);
    for (header, told) in [
        (EntryHeader::file("go/../../outside", 0), "invalid name"),
        (EntryHeader::file("/outside", 0), "invalid name"),
        (EntryHeader::file("go\\..\\x", 0), "invalid name"),
        (
            EntryHeader::symlink("go/bin/go", "gofmt"),
            "unsupported file type",
        ),
        (
            EntryHeader::new("go/bin/x", EntryKind::HardLink(b"go/bin".to_vec())),
            "unsupported file type",
        ),
        (
            EntryHeader::new("go/bin/x", EntryKind::Fifo),
            "unsupported file type",
        ),
        (EntryHeader::file("other", 0), "holds other beside go"),
        (EntryHeader::symlink("go", "/etc"), "unsupported file type"),
    ] {
        story
            .mirror
            .put_archive("go1.9.linux-amd64.tar.gz", go(header, "x"));
        let error = refused(&story, "go1.9").await;
        assert!(error.chain().contains(told), "{}", error.chain());
    }
    // Node's archives have links; those that stay inside are fine.
    let path = "v20.1.0/node-v20.1.0-linux-x64.tar.gz";
    let node = |target: &str| {
        let root = "node-v20.1.0-linux-x64";
        let archive = packed(&[
            (
                EntryHeader::file(format!("{root}/bin/node"), 0).mode(0o755),
                "#!/bin/sh\necho node\n",
            ),
            (EntryHeader::symlink(format!("{root}/bin/npm"), target), ""),
        ]);
        use sha2::Digest as _;
        let sum = hex::encode(sha2::Sha256::digest(&archive));
        let name = path.rsplit('/').next().unwrap();
        story
            .mirror
            .put("v20.1.0/SHASUMS256.txt", format!("{sum}  {name}\n"));
        story.mirror.put(path, archive);
    };
    for target in ["/etc/passwd", "../../outside", "../../../outside"] {
        node(target);
        let error = refused(&story, "node20.1.0").await;
        assert!(
            error.chain().contains("points outside"),
            "{}",
            error.chain()
        );
    }
    node("node");
    let installed = story.download("node20.1.0").await.unwrap();
    assert!(installed.path.join("bin/npm").exists());
}

fn zipped(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        match *content {
            target if target.starts_with("->") => {
                zip.add_symlink(*name, &target[2..], SimpleFileOptions::default())
                    .unwrap();
            }
            content => {
                zip.start_file(*name, SimpleFileOptions::default()).unwrap();
                zip.write_all(content.as_bytes()).unwrap();
            }
        }
    }
    zip.finish().unwrap().into_inner()
}

#[tokio::test]
async fn zip_archives_go_through_the_same_door() {
    let story = Story::new();
    let windows: Platform = "windows-amd64".parse().unwrap();
    let source = story.source().platform(windows);
    let download = async |archive: Vec<u8>| {
        story.mirror.put_archive("go1.9.windows-amd64.zip", archive);
        story.dir.download(&spec("go1.9"), &source, &|_| ()).await
    };
    let zeros = "\0".repeat(1 << 20);
    let bomb: Vec<(String, &str)> = (0..300)
        .map(|i| (format!("go/bin/{i}"), zeros.as_str()))
        .collect();
    let bomb: Vec<(&str, &str)> = bomb
        .iter()
        .map(|(name, zeros)| (name.as_str(), *zeros))
        .collect();
    for entries in [
        vec![("go/bin/go.exe", "x"), ("go/../../outside", "x")],
        vec![("go/bin/go.exe", "x"), ("../outside", "x")],
        vec![("go/bin/go.exe", "x"), ("/outside", "x")],
        vec![("go/bin/go.exe", "x"), ("go/link", "->/etc")],
        vec![("go/bin/go.exe", "x"), ("other", "x")],
        bomb,
    ] {
        let error = download(zipped(&entries)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
        assert!(!story.home.path().join("sdk/go1.9").exists());
        assert!(!story.home.path().join("outside").exists());
        assert!(story.names_of_work().is_empty());
    }
    let whole = zipped(&[("go/bin/go.exe", "program"), ("go/VERSION", "go1.9")]);
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert!(
            download(whole[..cut].to_vec()).await.is_err(),
            "cut at {cut}"
        );
    }
    let mut flipped = whole.clone();
    let at = whole
        .windows(7)
        .position(|bytes| bytes == b"program")
        .unwrap_or(50);
    flipped[at] ^= 1;
    assert!(download(flipped).await.is_err());
    let installed = download(whole).await.unwrap();
    assert_eq!(read(installed.path.join("VERSION")), "go1.9");
}

#[tokio::test]
async fn rust_comes_as_components_in_xz() {
    let story = Story::new();
    let root = "rust-1.80.1-x86_64-unknown-linux-gnu";
    let list = |files: &[(&str, &str)]| {
        let mut list = FileList::new();
        for (name, content) in files {
            list.add_bytes(
                EntryHeader::file(format!("{root}/{name}"), 0).mode(0o755),
                (*content).to_owned(),
            );
        }
        let options = lzma_rust2::XzOptions::with_preset(6);
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        std::io::copy(&mut list.open(), &mut xz).unwrap();
        xz.finish().unwrap()
    };
    let path = format!("{root}.tar.xz");
    let whole = list(&[
        ("components", "rustc\ncargo\n"),
        ("rustc/manifest.in", "file:bin/rustc\n"),
        ("rustc/bin/rustc", "1"),
        ("cargo/manifest.in", "file:bin/cargo\n"),
        ("cargo/bin/cargo", "#!/bin/sh\necho cargo $1\n"),
    ]);
    for cut in [0, 20, whole.len() / 2, whole.len() - 1] {
        story.mirror.put_archive(&path, &whole[..cut]);
        assert_eq!(
            refused(&story, "rust1.80.1").await.kind(),
            ErrorKind::Corrupt,
            "cut at {cut}"
        );
    }
    // 70 MiB of zeros in 70 streams after the header that announces them.
    let mut header = Vec::new();
    let zeros = EntryHeader::file(format!("{root}/zeros"), 70 << 20);
    // The content is missing on purpose: it follows in streams of its own.
    let _missing = zeros.write(std::io::empty(), &mut header);
    let stream = |content: &[u8]| {
        let mut xz =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
        xz.write_all(content).unwrap();
        xz.finish().unwrap()
    };
    let mut bomb = stream(&header);
    bomb.extend(stream(&vec![0; 1 << 20]).repeat(70));
    story.mirror.put_archive(&path, bomb);
    let error = refused(&story, "rust1.80.1").await;
    assert!(
        error.chain().contains("exceeds the limit"),
        "{}",
        error.chain()
    );
    story.mirror.put_archive(&path, whole);
    story.mirror.put(
        "channel-rust-1.80.toml",
        "[pkg.rust]\nversion = \"1.80.1 (3f5fd8dd4 2024-08-06)\"\n",
    );
    let found = story.source().newest("rust", "1.80").await.unwrap();
    assert_eq!(found.to_string(), "rust1.80.1");
    story.download("rust1.80.1").await.unwrap();
    let ready = story.dir.ready(&found, &story.rows()).unwrap();
    let done = ready
        .command(Some("/bin:/usr/bin".as_ref()))
        .arg("build")
        .output()
        .unwrap();
    assert_eq!(done.stdout, b"cargo build\n");
}
