//! `gostats`.

use maintner_core::generate::{Generator, Profile};

use crate::run;

#[test]
fn files_by_the_number_of_changes_that_touch_them() {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .records(8_000)
        .write(dir.path())
        .unwrap();
    let ran = run(
        "gostats",
        &[&"-modified-files=5", &"-time-load", &dir.path()],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("Loaded data in "));
    assert_eq!(lines.len(), 6);
    let counts: Vec<u32> = lines[1..]
        .iter()
        .map(|l| l[..6].trim().parse().unwrap())
        .collect();
    assert!(
        counts.is_sorted_by(|a, b| a >= b) && counts[0] > 1,
        "{counts:?}"
    );
    assert!(lines[1][7..].contains(".go"));
}

#[test]
fn an_unknown_project_is_bad_usage() {
    let dir = tempfile::tempdir().unwrap();
    Generator::new(Profile::Tiny)
        .records(100)
        .write(dir.path())
        .unwrap();
    let ran = run(
        "gostats",
        &[&"-modified-files=5", &"-project=a/b", &dir.path()],
    );
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("a/b"), "{}", ran.err);
}
