//! Trees that a machine keeps beside its work directory, and ends in the middle of them.

use std::io::Read as _;

use build_core::buildlet::Buildlet;
use build_core::tarutil::{EntryHeader, FileList};
use bytes::Bytes;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};

use super::*;

/// An archive of some size, and its name.
fn archive() -> (String, Vec<u8>) {
    let mut list = FileList::new();
    for n in 0..200u32 {
        let noise: Vec<u8> = (0..2000u32)
            .flat_map(|i| (n * 2000 + i).wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let header = EntryHeader::file(format!("lib/{n}"), noise.len() as u64);
        list.add_bytes(header, noise);
    }
    let mut bytes = Vec::new();
    list.open_gz().read_to_end(&mut bytes).unwrap();
    (hex::encode(Sha256::digest(&bytes)), bytes)
}

/// Names in the directory of trees but its lock.
fn names(program: &Program) -> Vec<String> {
    let entries = std::fs::read_dir(program.path("state/trees"));
    let names = entries.into_iter().flatten();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

#[tokio::test]
async fn a_machine_that_is_killed_while_it_unpacks_starts_anew() {
    let (name, bytes) = archive();
    let mut program = Program::start(&[]);
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    let half = futures::stream::iter([Ok(half)]).chain(futures::stream::pending());
    let client = program.client();
    let sending = client.keep_tree(&name, half.boxed());
    let dies = async {
        let begun = || {
            let aside = names(&program);
            let aside = aside
                .iter()
                .map(|aside| format!("state/trees/{aside}/tree/lib"));
            aside.map(|lib| program.path(&lib)).any(|lib| lib.is_dir())
        };
        while !begun() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        program.signal("KILL");
    };
    let (sent, ()) = tokio::join!(sending, dies);
    assert!(sent.is_err());
    program.ended();
    assert_eq!(names(&program).len(), 1, "half a tree is left");

    let dir = std::mem::replace(&mut program.dir, tempfile::tempdir().unwrap());
    let program = Program::resume(dir, &[]);
    let client = program.client();
    assert_eq!(client.kept_tree(&name).await.unwrap(), None);
    let whole = build_client::once(bytes.clone());
    let path = client.keep_tree(&name, whole).await.unwrap();
    assert_eq!(
        names(&program),
        std::slice::from_ref(&name),
        "and gone with the next one"
    );
    assert_eq!(
        std::fs::read_dir(format!("{path}/lib")).unwrap().count(),
        200
    );
    assert_eq!(client.kept_tree(&name).await.unwrap(), Some(path));
}

#[tokio::test]
async fn what_is_not_the_archive_is_refused_and_a_cut_one_leaves_nothing() {
    let (name, bytes) = archive();
    let program = Program::start(&[]);
    let client = program.client();
    let other = "0f".repeat(32);
    let swapped = client.keep_tree(&other, build_client::once(bytes.clone()));
    let error = swapped.await.unwrap_err();
    assert_eq!(error.kind(), build_core::ErrorKind::Invalid);
    assert!(error.chain().contains(&name), "{}", error.chain());
    let cut = Bytes::copy_from_slice(&bytes[..bytes.len() - 1]);
    let lost = build_core::Error::new(build_core::ErrorKind::Unavailable, "cut");
    let cut = futures::stream::iter([Ok(cut), Err(lost)]).boxed();
    client.keep_tree(&name, cut).await.unwrap_err();
    let client = program.client();
    for name in [&name, &other] {
        assert_eq!(client.kept_tree(name).await.unwrap(), None);
    }
    until("nothing is left", || names(&program).is_empty());
    // A form without a URL is no archive.
    let error = client.keep_tree_from(&name, "").await.unwrap_err();
    assert!(error.chain().contains("missing url"), "{}", error.chain());
}
