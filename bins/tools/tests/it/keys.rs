//! `genbuilderkey` and `gitauth`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Ran, program, run};

fn genbuilderkey(home: &Path, args: &[&str]) -> Ran {
    // No metadata server answers there.
    run(program("genbuilderkey")
        .args(args)
        .env("HOME", home)
        .env("GCE_METADATA_HOST", "127.0.0.1:1")
        .env_remove("XDG_CONFIG_HOME"))
}

#[test]
fn genbuilderkey_prints_the_keys_of_the_go_project() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("master");
    std::fs::write(&file, "secret-master\n").unwrap();
    let master = file.to_str().unwrap();
    for (name, key) in [
        ("user-alice", "0531171d6fb533c531e4505db1e343ab\n"),
        ("host-linux-jessie", "f50bf5984dbdbffd2ffaa7ee1373b735\n"),
    ] {
        let done = genbuilderkey(home.path(), &["-master-file", master, name]);
        assert_eq!(
            (done.out.as_str(), done.code),
            (key, Some(0)),
            "{}",
            done.err
        );
    }
    let done = genbuilderkey(home.path(), &["linux-amd64"]);
    assert!(
        done.code == Some(1) && done.err.contains("no builder master key found"),
        "{}",
        done.err
    );
    std::fs::create_dir(home.path().join("keys")).unwrap();
    std::fs::write(
        home.path().join("keys/gobuilder-master.key"),
        "gophers rule\n",
    )
    .unwrap();
    let done = genbuilderkey(home.path(), &["linux-amd64"]);
    assert_eq!(done.out, "8b3dbf220b21848be6884e982b34702e\n");
    for (args, code, told) in [
        (&[][..], 2, "PRINCIPAL"),
        (&["linux-amd64", "linux-386"], 2, "unexpected argument"),
        (&["linxu-amd64"], 2, "-force makes the key all the same"),
        (
            &["-master-file=missing", "linux-amd64"],
            1,
            "reading missing",
        ),
    ] {
        let done = genbuilderkey(home.path(), args);
        assert_eq!(done.code, Some(code), "{args:?} {}", done.err);
        assert!(
            done.err.contains(told) && !done.err.contains("gophers rule"),
            "{args:?} {}",
            done.err
        );
    }
    std::fs::write(&file, " \n").unwrap();
    let done = genbuilderkey(home.path(), &["-master-file", master, "linux-amd64"]);
    assert!(
        done.code == Some(1) && done.err.contains("the master key is empty"),
        "{}",
        done.err
    );
}

#[test]
fn genbuilderkey_keeps_and_checks_keys() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("m"), "m").unwrap();
    let file = home.path().join("m");
    let with = |args: &[&str]| {
        genbuilderkey(
            home.path(),
            &[&["-master-file", file.to_str().unwrap()], args].concat(),
        )
    };
    assert_eq!(with(&["-write", "user-ann"]).code, Some(0));
    let token = home.path().join(".config/gomote/user-ann.token");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(
        token.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    let token = token.to_str().unwrap();
    assert_eq!(with(&["-verify", token, "user-ann"]).code, Some(0));
    let done = with(&["-verify", token, "user-bob"]);
    assert!(
        done.code == Some(1) && done.err.contains("this is no key of user-bob"),
        "{}",
        done.err
    );
    let done = with(&["-expires", "1h", "-json", "user-ann"]);
    let told: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let mut child = program("genbuilderkey")
        .args([
            "-master-file",
            file.to_str().unwrap(),
            "-verify",
            "-",
            "user-ann",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(told["key"].as_str().unwrap().as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(with(&["-expires", "soon", "user-ann"]).code, Some(2));
}

#[test]
fn gitauth_writes_what_git_sends() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("s"), "s3cret\n").unwrap();
    let gitauth = |args: &[&str]| {
        run(program("gitauth")
            .args(args)
            .env("HOME", home.path())
            .current_dir(home.path())
            .env_remove("XDG_CONFIG_HOME"))
    };
    let args = [
        "-host",
        "example.test",
        "-user",
        "git-bot",
        "-secret-file",
        "s",
        "-global",
    ];
    for _ in 0..2 {
        assert_eq!(gitauth(&args).code, Some(0));
    }
    let file = home.path().join(".gitcookies");
    let text = || std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text(),
        "example.test\tFALSE\t/\tTRUE\t2147483647\to\tgit-bot=s3cret\n"
    );
    let asked = Command::new("git")
        .args(["config", "--global", "http.cookiefile"])
        .env("HOME", home.path())
        .env_remove("XDG_CONFIG_HOME")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(asked.stdout).unwrap().trim(),
        file.to_str().unwrap()
    );
    let done = gitauth(&["-host", "example.test", "-secret-file", "missing"]);
    assert!(
        done.code == Some(1) && done.err.contains("reading missing"),
        "{}",
        done.err
    );
    let done = run(program("gitauth")
        .args(args)
        .env_remove("HOME")
        .current_dir(home.path()));
    assert!(
        done.code == Some(1) && done.err.contains("HOME is not set"),
        "{}",
        done.err
    );
    assert!(text().contains("s3cret"), "as it was");
}
