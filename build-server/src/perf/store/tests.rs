//! Uploads in a folder, and damage to its index.

use super::*;

fn file(text: &str) -> NewFile {
    NewFile {
        name: "a.txt".to_owned(),
        text: text.to_owned(),
    }
}

const DAY: Timestamp = Timestamp::from_seconds(1_608_753_536);

#[test]
fn uploads_are_numbered_by_day_and_found_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = PerfStore::open(dir.path()).unwrap();
    let text = "commit: 1a\nupload: 19700101.9\nBenchmarkA-4 1 2 ns/op\n";
    assert_eq!(
        store.add(&[file(text)], Some("me\nx: y"), DAY).unwrap().id,
        "20201223.1"
    );
    let stored = store.add(&[file(text), file(text)], None, DAY).unwrap();
    assert_eq!(stored.files, ["20201223.2/0", "20201223.2/1"]);
    let told = PerfStore::open(dir.path()).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Conflict, "{told}");
    check(&store);
    drop(store);
    check(&PerfStore::open(dir.path()).unwrap());
}

fn check(store: &PerfStore) {
    let count = |query| store.search(&Query::parse(query).unwrap()).unwrap().len();
    assert_eq!(count(""), 3);
    assert_eq!(count("upload:20201223.2"), 2);
    assert_eq!(
        count("upload:19700101.9"),
        0,
        "what is sent does not rename an upload"
    );
    assert_eq!(count("commit:1a name:A gomaxprocs:4 by>m"), 1);
    assert_eq!(count("x:y"), 0);
    assert_eq!(store.values("commit").unwrap(), ["1a".to_owned()].into());
}

#[test]
fn a_start_reads_the_index_and_whatever_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let store = PerfStore::open(dir.path()).unwrap();
    for commit in ["1a", "2b", "3c"] {
        let text = format!("commit: {commit}\nBenchmarkA-4 1 2 ns/op\n");
        store.add(&[file(&text)], None, DAY).unwrap();
    }
    drop(store);
    let found = |query: &str| {
        let store = PerfStore::open(dir.path()).unwrap();
        store.search(&Query::parse(query).unwrap()).unwrap().len()
    };
    let index = dir.path().join("index");
    let whole = fs::read(&index).unwrap();
    assert_eq!(whole.split(|b| *b == b'\n').count(), 5);
    // Cut at many bytes of the index: nothing is missing, and the index is whole again.
    for kept in (0..=whole.len()).step_by(61) {
        fs::write(&index, &whole[..kept]).unwrap();
        assert_eq!(found("commit>1"), 3, "{kept} bytes");
        let mut again = PerfStore::open(dir.path()).unwrap().uploads();
        assert_eq!(again.pop().unwrap().count(), 1);
    }
    // A damaged line, and lines of uploads that are elsewhere now.
    let mut bad = whole.clone();
    let at = whole.len() - 20;
    bad[at] ^= 1;
    fs::write(&index, &bad).unwrap();
    assert_eq!(found("commit:3c"), 1);
    assert_eq!(fs::read(&index).unwrap().len(), whole.len());
    let store = PerfStore::open(dir.path()).unwrap();
    let all = store.uploads();
    fs::remove_dir_all(dir.path().join("uploads/20201223.2")).unwrap();
    assert!(store.results(&all[1]).unwrap().is_empty());
    assert_eq!(store.uploads().len(), 2);
    // A changed file is seen when it is read.
    let path = dir.path().join("uploads/20201223.3/0.txt");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("3c", "33cc")).unwrap();
    store.results(&all[2]).unwrap();
    let query = Query::parse("commit:33cc").unwrap();
    assert_eq!(store.search(&query).unwrap().len(), 1);
    drop(store);
    assert_eq!((found("commit:33cc"), found("")), (1, 2));
    // An index of another program is written anew.
    fs::write(&index, "perfdata index 9\n").unwrap();
    assert_eq!(found("commit:1a"), 1);
    assert!(fs::read(&index).unwrap().starts_with(b"perfdata index 1\n"));
}

#[test]
fn a_search_reads_only_uploads_that_can_have_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = PerfStore::open(dir.path()).unwrap();
    for commit in ["1a", "2b"] {
        let text = format!("commit: {commit}\nBenchmarkA-4 1 2 ns/op\n");
        store.add(&[file(&text)], None, DAY).unwrap();
    }
    drop(store);
    let store = PerfStore::open(dir.path()).unwrap();
    let query = Query::parse("commit:2b").unwrap();
    // The other one's file is not looked at: it could not be read.
    let other = dir.path().join("uploads/20201223.1/0.txt");
    fs::remove_file(&other).unwrap();
    fs::create_dir(&other).unwrap();
    assert_eq!(store.search(&query).unwrap().len(), 1);
    assert!(store.search(&Query::default()).is_err());
    let held = store.read.lock().unwrap().results;
    assert_eq!(held, 1);
}

#[test]
fn what_holds_no_result_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = PerfStore::open(dir.path()).unwrap();
    let told = |files: &[NewFile]| store.add(files, None, DAY).unwrap_err().to_string();
    assert_eq!(told(&[]), "no files processed");
    assert_eq!(told(&[file("ok\n")]), "no valid benchmark lines found");
    // An upload that was cut off is forgotten at the next start.
    drop(store);
    fs::create_dir(dir.path().join("uploads/new-20201223.1")).unwrap();
    assert!(PerfStore::open(dir.path()).unwrap().uploads().is_empty());
    assert_eq!(fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
}
