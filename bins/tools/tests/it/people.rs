//! `gophers` and `gerritctl`.

use build_client::fake_gerrit::FakeGerrit;

use crate::{Ran, program, run, write};

#[test]
fn gophers_finds_people_by_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let gophers = |args: &[&str]| run(program("gophers").args(args).current_dir(dir.path()));
    write(
        &dir.path().join("p.toml"),
        "[[person]]\nname = \"Ann É\"\ngithub = [\"annx\"]\nemails = [\"ann@x.test\"]\ntags = [\"org:x\"]\n",
    );
    let line = "Ann É\t@annx\tann@x.test\torg:x\n";
    for id in ["@AnnX", "ANN é", "ann@X.test"] {
        let done = gophers(&["lookup", "-people", "p.toml", id]);
        assert_eq!(
            (done.out.as_str(), done.code),
            (line, Some(0)),
            "{}",
            done.err
        );
    }
    let done = gophers(&["lookup", "-people=p.toml", "nobody"]);
    assert_eq!((done.out.as_str(), done.code), ("", Some(1)));
    assert_eq!(gophers(&["check", "p.toml"]).code, Some(0));
    write(
        &dir.path().join("q.toml"),
        "[[person]]\nname = \"Bo\"\nemails = [\"ann@x.test\"]\n",
    );
    let done = gophers(&["check", "p.toml", "q.toml"]);
    assert_eq!(
        (done.out.as_str(), done.code),
        (
            "q.toml:3: \"ann@x.test\" is Ann É too, at p.toml:4\n",
            Some(1)
        )
    );
    write(&dir.path().join("map"), "Bo <bo@x.test> <old@x.test>\n");
    let done = gophers(&["import-mailmap", "map"]);
    assert_eq!(
        done.out,
        "[[person]]\nname = \"Bo\"\nemails = [\"bo@x.test\", \"old@x.test\"]\n\n"
    );
    assert_eq!(gophers(&["check", "missing"]).code, Some(2));
}

#[test]
fn gerritctl_asks_a_server() {
    let server = FakeGerrit::start().unwrap();
    {
        let mut world = server.world();
        world.account("bot@x.test");
        for n in 1..=3 {
            world.change("go", "master", &format!("fmt: {n}"), "ann@x.test");
        }
        world.password = Some(("bot".into(), "s3cret".into()));
    }
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("password"), "s3cret\n");
    let ctl = |args: &[&str]| -> Ran {
        run(program("gerritctl")
            .args(["--server", server.url()])
            .args(args)
            .current_dir(dir.path()))
    };
    let known =
        |args: &[&str]| ctl(&[&["--user", "bot", "--password-file", "password"], args].concat());
    let done = ctl(&["query", "-n", "1", "status:open"]);
    assert_eq!(
        done.out, "3\tNEW\tgo\tfmt: 3\n2\tNEW\tgo\tfmt: 2\n1\tNEW\tgo\tfmt: 1\n",
        "{}",
        done.err
    );
    let done = ctl(&["change", "999999"]);
    assert!(
        done.code == Some(1) && done.err.contains("change does not exist"),
        "{}",
        done.err
    );
    let done = ctl(&["project", "no/such"]);
    assert!(
        done.code == Some(1) && done.err.contains("project does not exist"),
        "{}",
        done.err
    );
    assert!(
        server
            .seen()
            .contains(&"GET /projects/no%2Fsuch".to_owned())
    );
    for _ in 0..2 {
        let done = known(&["hashtags", "1", "--add", "wait-author", "--remove", "foo"]);
        assert_eq!(done.out, "wait-author\n", "{}", done.err);
    }
    assert_eq!(
        server
            .seen()
            .iter()
            .filter(|line| line.starts_with("POST"))
            .count(),
        1
    );
    assert_eq!(known(&["abandon", "2", "-m", "old"]).out, "2\tABANDONED\n");
    write(&dir.path().join("password"), "wr0ng\n");
    let done = known(&["account", "self"]);
    assert!(
        done.code == Some(1) && done.err.contains("401") && !done.err.contains("wr0ng"),
        "{}",
        done.err
    );
    server
        .world()
        .answer("/projects/", 200, "<html>log in</html>");
    let done = ctl(&["projects"]);
    assert!(
        done.code == Some(1) && done.err.contains("not a Gerrit reply"),
        "{}",
        done.err
    );
}
