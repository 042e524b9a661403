//! `vcweb`, asked by the version control programs themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peer::{Peer, has};

/// One commit of a file, in each system, with an author and a time.
const SCRIPTS: [(&str, &str); 9] = [
    (
        "git/hello",
        "handle git\nenv GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b\nenv GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME\n\
         env GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL\ngit init\nat 2020-12-23T10:00:00Z\ngit add hello\n\
         git commit -m 'hello, ''world'''\n-- hello --\nhi\n",
    ),
    (
        "hg/hello",
        "[!hg] skip 'no hg'\nhandle hg\nhg init\nhg add hello\n\
         hg commit --user a --date '2020-12-23T10:00:00Z' --message hello\n-- hello --\nhi\n",
    ),
    (
        "bzr/hello",
        "[!bzr] skip\nhandle bzr\nenv BZR_EMAIL='a <a@b>' EMAIL='a <a@b>'\nbzr init\nbzr add hello\n\
         bzr commit --commit-time='2020-12-23 10:00:00 +0000' -m hello\n-- hello --\nhi\n",
    ),
    (
        "fossil/hello",
        "handle fossil\nenv USER=a\nfossil init --date-override 2020-12-23T10:00:00Z hello.fossil\n\
         fossil open --keep hello.fossil\nfossil add hello\n\
         fossil commit --no-prompt --nosign --date-override 2020-12-23T10:00:01Z --comment hello\n-- hello --\nhi\n",
    ),
    (
        "svn/hello",
        "handle svn\nsvnadmin create .\nenv ROOT=$PWD\nmkdir .wc\necho hi\ncp stdout .wc/hello\ncd .wc\n\
         svn checkout file://$ROOT .\nsvn add hello\nsvn commit -m first\n",
    ),
    (
        "go/page",
        "handle dir\n-- index.html --\n<!DOCTYPE html>\n<meta name=x>\n-- a/b --\ntext\n",
    ),
    (
        "auth/secret",
        "handle auth\n-- .access --\n{\"Username\":\"u\",\"Password\":\"p\",\"StatusCode\":404,\"Message\":\"what file?\"}\n\
         -- index.html --\n<html>inside\n-- more/.access --\n{\"Username\":\"v\",\"Password\":\"q\",\"Message\":\"no\"}\n\
         -- more/x --\nx\n-- bad/.access --\n{\n-- bad/x --\nx\n",
    ),
    ("cvs/old", "[!exec:no-such-cvs] skip 'no cvs'\nhandle dir\n"),
    ("go/broken", "handle dir\ncmp a b\n-- a --\n1\n-- b --\n2\n"),
];

fn write_scripts(dir: &Path) -> PathBuf {
    let scripts = dir.join("scripts");
    for (name, text) in SCRIPTS {
        let path = scripts.join(format!("{name}.txt"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    scripts
}

fn start(dir: &Path, scripts: &Path) -> Peer {
    Peer::start("vcweb", 2, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-d"])
            .arg(dir.join("data"));
        command.arg("-scripts").arg(scripts);
    })
}

fn run(dir: &Path, words: &[&str]) -> String {
    let done = Command::new(words[0])
        .args(&words[1..])
        .current_dir(dir)
        .env("HOME", dir)
        .env("USER", "gopher")
        .output()
        .unwrap();
    let told =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{words:?}: {told}");
    told
}

#[test]
fn vcweb_repositories_are_made_on_demand_and_cloned_by_their_own_programs() {
    let dir = tempfile::tempdir().unwrap();
    let mut site = start(dir.path(), &write_scripts(dir.path()));
    let here = dir.path();
    let hello = |at: &str| {
        assert_eq!(
            fs::read_to_string(here.join(at).join("hello")).unwrap(),
            "hi\n"
        );
    };
    run(here, &["git", "clone", "-q", &site.url("/git/hello"), "g"]);
    hello("g");
    // The same commit on every machine.
    let hash = run(&here.join("g"), &["git", "log", "--format=%H %s"]);
    assert_eq!(
        hash,
        "2420580ff0f9731095d12b3b8cd96457ca1b51e5 hello, 'world'\n"
    );
    if has("hg") {
        run(here, &["hg", "clone", "-q", &site.url("/hg/hello"), "h"]);
        hello("h");
    }
    if has("bzr") {
        run(here, &["bzr", "branch", "-q", &site.url("/bzr/hello"), "b"]);
        hello("b");
    }
    if has("svn") && has("svnserve") {
        let told = site.get("/svn/hello?vcwebsvn=1").text();
        assert_eq!(told, format!("svn://{}\n", site.addresses[1]));
        run(
            here,
            &[
                "svn",
                "checkout",
                "-q",
                &format!("{}/svn/hello", told.trim()),
                "s",
            ],
        );
        hello("s");
    }
    if has("fossil") {
        run(
            here,
            &[
                "fossil",
                "clone",
                "--admin-user",
                "a",
                &site.url("/fossil/hello"),
                "f.fossil",
            ],
        );
        fs::create_dir(here.join("f")).unwrap();
        run(&here.join("f"), &["fossil", "open", "../f.fossil"]);
        hello("f");
    }
    let page = site.get("/").text();
    assert!(
        page.contains("served as git since") && !page.contains("<script"),
        "{page}"
    );
    assert_eq!(site.end(), Some(0));
}

#[test]
fn vcweb_serves_files_and_asks_for_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let scripts = write_scripts(dir.path());
    let site = start(dir.path(), &scripts);
    let page = site.get("/go/page/?go-get=1");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert_eq!(site.get("/go/page/a/b").text(), "text\n");
    assert_eq!(site.get("/go/page/a/").status, 200, "a list");
    for (path, status) in [
        ("/go/page/../../etc/passwd", 400),
        ("/go/page/%2e%2e/secret", 400),
        ("/git/../etc", 400),
        ("/go/none", 404),
        ("/nothing", 404),
        ("/cvs/old", 501),
        ("/go/broken", 500),
    ] {
        assert_eq!(site.get(path).status, status, "{path}");
    }
    assert!(
        site.get("/go/broken")
            .text()
            .contains("line 2: cmp a b: a and b differ")
    );
    assert!(site.get("/cvs/old").text().contains("no cvs"));
    let with = |path: &str, code: &str| {
        site.ask(
            "GET",
            path,
            &format!("Authorization: Basic {code}\r\n"),
            b"",
        )
    };
    // u:p, u:x, v:q
    assert_eq!(with("/auth/secret/", "dTpw").text(), "<html>inside\n");
    let wrong = with("/auth/secret/", "dTp4");
    assert_eq!((wrong.status, wrong.text().as_str()), (404, "what file?\n"));
    assert_eq!(with("/auth/secret/more/x", "djpx").text(), "x\n");
    let asked = site.get("/auth/secret/more/x");
    assert_eq!(
        (asked.status, asked.header("www-authenticate")),
        (401, Some("basic realm=/more"))
    );
    assert_eq!(site.get("/auth/secret/.access").status, 400);
    assert_eq!(
        with("/auth/secret/bad/x", "dTpw").text(),
        "malformed access file\n"
    );
    let insecure = site.get("/insecure/go/x?y");
    assert_eq!(insecure.status, 301);
    assert_eq!(
        insecure.header("location"),
        Some(site.url("/go/x?y").as_str())
    );
    // A script that changes makes its repository anew.
    fs::write(
        scripts.join("go/page.txt"),
        "handle dir\n-- index.html --\nnew\n",
    )
    .unwrap();
    assert_eq!(site.get("/go/page/").text(), "new\n");
    assert_eq!(site.get("/go/page/a/b").status, 404);
}

#[test]
fn vcweb_runs_the_go_commands_own_scripts() {
    if !has("go") || !has("hg") || !has("fossil") || !has("bzr") || !has("svn") {
        return;
    }
    let root = run(Path::new("/"), &["go", "env", "GOROOT"]);
    let scripts = PathBuf::from(root.trim()).join("src/cmd/go/testdata/vcstest");
    if !scripts.is_dir() {
        eprintln!("SKIPPED: this Go has no scripts of its tests");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let site = start(dir.path(), &scripts);
    // Each compares the hashes that it makes with those that it knows.
    for name in [
        "git/hello",
        "git/odd-tags",
        "git/gitrepo-sha256",
        "hg/hello",
        "fossil/hello",
        "svn/hello",
        "bzr/hello",
        "auth/or401",
    ] {
        let answer = site.get(&format!("/{name}/"));
        assert!(
            ![500, 501, 502, 504].contains(&answer.status) || answer.body.is_empty(),
            "{name}: {}",
            answer.text()
        );
    }
    let page = site.get("/").text();
    assert_eq!(page.matches("served as").count(), 8, "{page}");
    assert!(!page.contains("✗"), "{page}");
}

#[test]
fn vcweb_serves_ready_repositories_and_names_absent_programs() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("go")).unwrap();
    fs::create_dir_all(data.join("hg/x")).unwrap();
    fs::write(data.join("go/name"), "<html>found\n").unwrap();
    let site = Peer::start("vcweb", 2, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-d"])
            .arg(&data)
            .env("PATH", "/nowhere");
    });
    assert_eq!(site.get("/go/name").text(), "<html>found\n");
    let absent = site.get("/hg/x");
    assert_eq!(absent.status, 501);
    assert!(absent.text().contains("hg is not installed"));
    assert!(site.get("/").text().contains("hg (not installed)"));
    assert_eq!(site.get("/healthz").text(), "ok\n");
    let foreign = site.ask("GET", "/", "Host: attacker.example\r\n", b"");
    assert_eq!(foreign.status, 421);
}
