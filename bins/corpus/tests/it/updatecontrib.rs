//! `updatecontrib`, over git repositories made here and a stand-in for GitHub.

use std::path::Path;
use std::process::Command;

use build_client::fake_gerrit::FakeGerrit;

fn git(dir: &Path, args: &[&str]) -> String {
    let done = Command::new("git")
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A repository whose commits these people made; the short hash of each.
fn repo(dir: &Path, people: &[(&str, &str)]) -> Vec<String> {
    std::fs::create_dir_all(dir).unwrap();
    git(dir, &["init", "-q", "-b", "master"]);
    let commit = |(name, email): &(&str, &str)| {
        let (name, email) = (format!("user.name={name}"), format!("user.email={email}"));
        git(
            dir,
            &[
                "-c",
                &name,
                "-c",
                &email,
                "commit",
                "-q",
                "--allow-empty",
                "-m",
                "x",
            ],
        );
        git(dir, &["rev-parse", "--short", "HEAD"])
    };
    people.iter().map(commit).collect()
}

const HEAD: &str = "# People.\n# Please keep the list sorted.\n";

#[test]
fn updatecontrib_adds_those_that_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let one = repo(
        &dir.join("one"),
        &[
            ("Zoe Z", "zoe@x.test"),
            ("Émile É", "emile@x.test"),
            ("annx", "ann@x.test"),
            ("bo", "bo@x.test"),
            ("cy", "cy@x.test"),
            ("dee", "dee@x.test"),
        ],
    );
    repo(
        &dir.join("two"),
        &[
            ("Zoe Z", "zoe@home.test"),
            ("Typo", "typo@x.test"),
            ("Nobody At All", "nobody@x.test"),
        ],
    );
    let server = FakeGerrit::start().unwrap();
    {
        let mut world = server.world();
        for (commit, id, user) in [
            (
                &one[2],
                1,
                "{\"login\": \"annx\", \"id\": 1, \"name\": \"Ann X\"}",
            ),
            (&one[3], 2, "{\"login\": \"bo\", \"id\": 2, \"name\": null}"),
            (
                &one[4],
                3,
                "{\"login\": \"other\", \"id\": 3, \"name\": \"cy\"}",
            ),
        ] {
            world.answer(
                &format!("/repos/x/one/commits/{commit}"),
                200,
                &format!("{{\"author\": {{\"id\": {id}}}}}"),
            );
            world.answer(&format!("/user/{id}"), 200, user);
        }
        world.answer(&format!("/repos/x/one/commits/{}", one[5]), 500, "down");
    }
    let config = "ignore_emails = [\"nobody@x.test\"]\n[name]\nTypo = \"Ty Po\"\n\
                  [[repo]]\nname = \"one\"\ndir = \"one\"\ngithub = \"x/one\"\nbranch = \"master\"\n\
                  [[repo]]\nname = \"two\"\ndir = \"two\"\ngithub = \"x/two\"\nbranch = \"master\"\n";
    std::fs::write(dir.join("config"), config).unwrap();
    std::fs::write(
        dir.join("CONTRIBUTORS"),
        format!("{HEAD}\nZed Y <zed@x.test>\nemile a <a@x.test>\n"),
    )
    .unwrap();
    let run = |args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
            .args(["updatecontrib", "-config", "config", "-api", server.url()])
            .args(args)
            .current_dir(dir)
            .env("XDG_CACHE_HOME", dir.join("cache"))
            .output()
            .unwrap();
        (
            String::from_utf8(done.stdout).unwrap(),
            String::from_utf8(done.stderr).unwrap(),
            done.status.code(),
        )
    };
    let file = || std::fs::read_to_string(dir.join("CONTRIBUTORS")).unwrap();
    let before = file();
    assert_eq!(run(&["-check"]).2, Some(1));
    assert_eq!(file(), before);
    let (out, err, code) = run(&[]);
    assert!(
        code == Some(1)
            && err.contains("Error fetching GitHub name for dee <dee@x.test>")
            && err.contains("500"),
        "{err}"
    );
    assert!(
        err.contains("Found invalid-looking name \"cy\" for GitHub user @other"),
        "{err}"
    );
    assert!(
        out.contains("Used GitHub name \"Ann X\" for annx")
            && out.contains("Used GitHub User @bo (2) form"),
        "{out}"
    );
    let sorted = format!(
        "{HEAD}Ann X <ann@x.test>\nemile a <a@x.test>\nÉmile É <emile@x.test>\nGitHub User @bo (2) <bo@x.test>\nTy Po <typo@x.test>\n\
         Zed Y <zed@x.test>\nZoe Z <zoe@home.test>\n"
    );
    let with_first_address = sorted.replace("zoe@home.test", "zoe@x.test");
    assert_eq!(file(), with_first_address);
    server
        .world()
        .answer(&format!("/repos/x/one/commits/{}", one[5]), 404, "{}");
    let asked = server
        .seen()
        .iter()
        .filter(|line| line.contains("/user/"))
        .count();
    let (out, err, code) = run(&[]);
    assert_eq!((out.as_str(), code), ("", Some(0)), "{err}");
    assert!(
        err.contains("There is no GitHub user associated with dee"),
        "{err}"
    );
    assert_eq!(file(), with_first_address, "a second run changes nothing");
    assert_eq!(
        server
            .seen()
            .iter()
            .filter(|line| line.contains("/user/"))
            .count(),
        asked,
        "answers are kept"
    );
    assert_eq!(run(&["-check"]).2, Some(0));
    assert_eq!(run(&["-file=missing"]).2, Some(1));
}
