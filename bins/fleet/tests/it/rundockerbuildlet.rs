use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{program, run, write, write_program};

/// Keeps a file for each container, and what it was asked.
const DOCKER: &str = r#"#!/bin/sh
cd "$(dirname "$0")/containers" || exit 1
echo "$@" >>../calls
case "$1" in
ps) for f in *; do if [ -e "$f" ]; then echo "id-$f $f $(cat "$f")"; fi; done ;;
run)
  for a in "$@"; do case "$a" in --name=*) n=${a#--name=} ;; esac; done
  if [ -e ../broken ]; then echo "no space left" >&2; exit 125; fi
  echo running >"$n"; echo "id-$n" ;;
rm) rm "${3#id-}" ;;
esac
exit 0
"#;

fn set_up() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_program(&dir.path().join("docker"), DOCKER);
    fs::create_dir(dir.path().join("containers")).unwrap();
    write(&dir.path().join("key"), "the key\n");
    dir
}

fn keep(dir: &Path) -> Command {
    let mut command = program("rundockerbuildlet");
    command
        .arg(format!("-docker={}", dir.join("docker").display()))
        .arg(format!("-key={}", dir.join("key").display()))
        .arg(format!("-key-root={}", dir.display()))
        .args(["-n", "2", "-cpu", "4", "-json", "-once"]);
    command
}

fn containers(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir.join("containers")).unwrap();
    let mut names: Vec<_> = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn rundockerbuildlet_keeps_so_many_containers() {
    let dir = set_up();
    let done = run(&mut keep(dir.path()));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(containers(dir.path()), ["builder01", "builder02"]);
    let calls = fs::read_to_string(dir.path().join("calls")).unwrap();
    assert!(
        calls.contains("--filter label=farmer.workers=builder "),
        "{calls}"
    );
    assert!(
        calls.contains("--cpuset-cpus=0-3") && calls.contains("--cpuset-cpus=4-7"),
        "{calls}"
    );
    let key = dir.path().join("buildkey01/gobuildkey");
    assert_eq!(fs::read_to_string(&key).unwrap(), "the key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mode = fs::metadata(key.parent().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    // The buildlet has read and deleted its key; one container has ended.
    fs::remove_file(&key).unwrap();
    write(&dir.path().join("containers/builder01"), "exited\n");
    let done = run(&mut keep(dir.path()));
    let told: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let wanted =
        serde_json::json!({ "failed": {}, "removed": ["builder01"], "started": ["builder01"] });
    assert_eq!(told, wanted);
    assert!(key.exists());
    let done = run(&mut keep(dir.path()));
    let told: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let wanted = serde_json::json!({ "failed": {}, "removed": [], "started": [] });
    assert_eq!(told, wanted);
}

#[test]
fn rundockerbuildlet_names_what_is_wrong() {
    let dir = set_up();
    write(&dir.path().join("broken"), "");
    let done = run(&mut keep(dir.path()));
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("no space left"), "{done:?}");
    fs::remove_file(dir.path().join("key")).unwrap();
    let done = run(&mut keep(dir.path()));
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("--key="), "{done:?}");
    write(&dir.path().join("key"), "k");
    fs::remove_file(dir.path().join("docker")).unwrap();
    let done = run(&mut keep(dir.path()));
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("on PATH"), "{done:?}");
}
