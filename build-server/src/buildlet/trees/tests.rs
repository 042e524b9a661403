use std::os::unix::fs::PermissionsExt as _;

use build_core::tarutil::{EntryHeader, FileList, GzipOptions, Pack};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An archive with a program that prints `text`, and its name.
fn archive(text: &str) -> (String, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    let program = dir.path().join("bin/tool");
    fs::write(&program, format!("#!/bin/sh\necho {text}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut packed = Vec::new();
    let pack = Pack::open(dir.path()).unwrap();
    pack.write_gz(&mut packed, &GzipOptions::default()).unwrap();
    (hex::encode(Sha256::digest(&packed)), packed)
}

fn trees(dir: &Path) -> Trees {
    Trees::new(dir.join("trees"), 1 << 30)
}

fn keep(trees: &Trees, name: &str, archive: &[u8]) -> Result<PathBuf, Refusal> {
    trees.keep(name, archive, &|| false)
}

/// Everything in the directory but its lock.
fn names(trees: &Trees) -> Vec<String> {
    let entries = fs::read_dir(&trees.dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != LOCK).collect();
    names.sort();
    names
}

fn set_used(trees: &Trees, name: &str, ago: Duration) {
    let note = File::options()
        .write(true)
        .open(trees.dir.join(name).join(NOTE))
        .unwrap();
    note.set_modified(SystemTime::now() - ago).unwrap();
}

#[test]
fn a_tree_is_unpacked_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let kept = trees(dir.path());
    let (name, bytes) = archive("one");
    assert_eq!(kept.find(&name).unwrap(), None);
    assert!(!kept.dir.exists(), "a question makes nothing");
    let path = keep(&kept, &name, &bytes).unwrap();
    assert!(path.join("bin/tool").is_file());
    assert_eq!(trees(dir.path()).find(&name).unwrap(), Some(path.clone()));
    // A second time nothing is read.
    assert_eq!(keep(&kept, &name, b"").unwrap(), path);
    assert_eq!(names(&kept), [name]);
}

#[test]
fn what_is_not_the_archive_never_becomes_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    let kept = trees(dir.path());
    let (name, bytes) = archive("one");
    let (_, other) = archive("two");
    let mut longer = bytes.clone();
    longer.extend_from_slice(&other);
    let swapped = keep(&kept, &name, &other).unwrap_err();
    assert_eq!(swapped.status, 400);
    assert!(swapped.text.contains(&name), "{}", swapped.text);
    let torn = (0..bytes.len()).step_by(7).map(|end| &bytes[..end]);
    for bad in torn.chain([&longer[..], b"no archive"]) {
        assert!(keep(&kept, &name, bad).is_err(), "{} bytes", bad.len());
        assert_eq!(kept.find(&name).unwrap(), None);
        assert!(names(&kept).is_empty(), "{:?}", names(&kept));
    }
    assert!(keep(&kept, &name, &bytes).is_ok());
}

#[test]
fn an_archive_that_would_leave_its_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kept = trees(dir.path());
    let mut list = FileList::new();
    list.add_bytes(EntryHeader::file("../../outside", 1), "x");
    let mut bytes = Vec::new();
    list.open_gz().read_to_end(&mut bytes).unwrap();
    let name = hex::encode(Sha256::digest(&bytes));
    assert!(keep(&kept, &name, &bytes).is_err());
    assert!(names(&kept).is_empty());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_tree_that_was_changed_is_not_found_and_comes_anew() {
    let dir = tempfile::tempdir().unwrap();
    let kept = trees(dir.path());
    let (name, bytes) = archive("one");
    let changes: [fn(&Path); 4] = [
        |tree| fs::write(tree.join("bin/tool"), "#!/bin/sh\necho two\n").unwrap(),
        |tree| fs::write(tree.join("bin/more"), "").unwrap(),
        |tree| fs::remove_file(tree.join("bin/tool")).unwrap(),
        |tree| {
            // With its size and its time as they were.
            let file = tree.join("bin/tool");
            let before = fs::metadata(&file).unwrap().modified().unwrap();
            fs::write(&file, "#!/bin/sh\necho two\n").unwrap();
            let file = File::options().write(true).open(file).unwrap();
            file.set_modified(before).unwrap();
        },
    ];
    for change in changes {
        let path = keep(&kept, &name, &bytes).unwrap();
        change(&path);
        assert_eq!(kept.find(&name).unwrap(), None);
        assert!(names(&kept).is_empty());
    }
}

#[test]
fn what_died_while_it_unpacked_is_cleared_when_nobody_works() {
    let dir = tempfile::tempdir().unwrap();
    let kept = trees(dir.path());
    let (name, bytes) = archive("one");
    let half = kept.dir.join(".new-0000000000000001");
    fs::create_dir_all(half.join("tree/bin")).unwrap();
    let lock = kept.open().unwrap();
    lock.lock_shared().unwrap();
    keep(&kept, &name, &bytes).unwrap();
    assert!(half.is_dir(), "it may be somebody's work");
    lock.unlock().unwrap();
    keep(&kept, &name, &bytes).unwrap();
    assert_eq!(names(&kept), [name]);
}

#[test]
fn trees_go_when_they_are_old_or_too_many_but_not_while_they_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let small = Trees::new(dir.path().join("trees"), 1);
    let [old, idle, busy] = ["old", "idle", "busy"].map(archive);
    for (name, bytes) in [&old, &idle, &busy] {
        keep(&small, name, bytes).unwrap();
    }
    assert_eq!(names(&small).len(), 3, "all were asked for just now");
    set_used(&small, &idle.0, 2 * DAY);
    set_used(&small, &old.0, 40 * DAY);
    // With room enough only what nobody used for a month goes.
    let large = trees(dir.path());
    keep(&large, &busy.0, &busy.1).unwrap();
    assert!(names(&small).contains(&idle.0) && !names(&small).contains(&old.0));
    keep(&small, &busy.0, &busy.1).unwrap();
    assert_eq!(names(&small), [busy.0]);
}
