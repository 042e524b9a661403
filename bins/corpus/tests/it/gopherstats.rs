//! `gopherstats`, over a generated corpus.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;

use maintner_core::generate::{Generator, Profile};
use serde_json::Value;

use crate::run;

fn corpus(dir: &Path) {
    Generator::new(Profile::Tiny)
        .records(8_000)
        .write(dir)
        .unwrap();
}

fn json(args: &[&dyn AsRef<Path>]) -> Value {
    let ran = run("gopherstats", args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// Everybody who wrote a change or an issue, as people of one organisation or none.
fn people(dir: &Path) -> std::path::PathBuf {
    let view =
        maintner_core::Corpus::open_with(dir, maintner_core::Options::default().snapshot(false))
            .unwrap()
            .view();
    let mut names = std::collections::BTreeSet::new();
    for project in view.gerrit().projects() {
        names.extend(
            project
                .cls()
                .map(|cl| cl.commit().author().email().to_owned()),
        );
    }
    let mut text = String::new();
    for (number, email) in names.iter().filter(|email| email.contains('@')).enumerate() {
        let tag = if number % 2 == 0 { "org:example" } else { "x" };
        text.push_str(&format!(
            "[[person]]\nname = \"P{number}\"\nemails = [\"{email}\"]\ntags = [\"{tag}\"]\n"
        ));
    }
    for (number, user) in view.github().users().enumerate() {
        let login = user.login();
        text.push_str(&format!(
            "[[person]]\nname = \"U{number}\"\ngithub = [\"{login}\"]\n"
        ));
    }
    let file = dir.join("people.toml");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn gopherstats_counts_the_same_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path());
    let file = people(dir.path());
    let flag = format!("-people={}", file.display());
    let org = "-org=org:example";

    let told = json(&[
        &"-mode=gerrit-cls",
        &flag,
        &org,
        &"-format=json",
        &dir.path(),
    ]);
    let quarters = told["quarters"].as_array().unwrap();
    assert!(!quarters.is_empty());
    let sum = |name: &str| {
        quarters
            .iter()
            .map(|q| q[name].as_u64().unwrap())
            .sum::<u64>()
    };
    let view = maintner_core::Corpus::open_with(
        dir.path(),
        maintner_core::Options::default().snapshot(false),
    )
    .unwrap()
    .view();
    let changes: usize = view.gerrit().projects().map(|p| p.cls().count()).sum();
    assert_eq!(sum("inside") + sum("outside"), changes as u64);
    assert!(sum("inside") > 0 && sum("outside") > 0, "{told}");
    let csv = run(
        "gopherstats",
        &[
            &"-mode=gerrit-cls",
            &flag,
            &org,
            &"-format=csv",
            &dir.path(),
        ],
    );
    assert_eq!(csv.out.lines().count(), quarters.len() + 1);
    let table = run(
        "gopherstats",
        &[&"-mode=gerrit-cls", &flag, &org, &dir.path()],
    );
    assert!(table.out.contains(" commits ("), "{}", table.out);

    let all = json(&[
        &"-mode=range-stats",
        &flag,
        &"-format=json",
        &"-top=1000000",
        &dir.path(),
    ]);
    let lists = all.as_array().unwrap();
    assert_eq!(lists.len(), 7);
    let total = |list: &Value| {
        let people = list["people"].as_array().unwrap();
        people
            .iter()
            .map(|one| one[0].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(
        total(&lists[0]),
        changes as u64,
        "every change has an author who is known"
    );
    let table = run(
        "gopherstats",
        &[&"-mode=range-stats", &flag, &"-top=1000000", &dir.path()],
    );
    let shown: u64 = table
        .out
        .lines()
        .filter(|line| line.starts_with(' '))
        .map(|line| line[..6].trim().parse::<u64>().unwrap())
        .sum();
    assert_eq!(
        shown,
        lists.iter().map(total).sum::<u64>(),
        "the table says the same"
    );
    let none = json(&[
        &"-mode=range-stats",
        &flag,
        &"-to=1990-01-01",
        &"-format=json",
        &dir.path(),
    ]);
    assert!(none.as_array().unwrap().iter().all(|list| total(list) == 0));

    // One project has less than all.
    let first = view.gerrit().projects().next().unwrap();
    let project = format!("-projects={}", first.full_name());
    let one = json(&[
        &"-mode=gerrit-cls",
        &project,
        &flag,
        &"-format=json",
        &dir.path(),
    ]);
    let ones: u64 = one["quarters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|q| q["inside"].as_u64().unwrap() + q["outside"].as_u64().unwrap())
        .sum();
    assert_eq!(ones, first.cls().count() as u64);
}

#[test]
fn gopherstats_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path());
    let told = |args: &[&str], code: i32| {
        let mut all: Vec<&dyn AsRef<Path>> = Vec::new();
        for arg in args {
            all.push(arg);
        }
        let path = dir.path();
        all.push(&path);
        let ran = run("gopherstats", &all);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        ran.err
    };
    assert!(told(&[], 1).contains("range-stats"), "the modes are listed");
    assert!(told(&["-mode=x"], 1).contains("Unknown --mode flag."));
    let text = told(&["-mode=range-stats", "-from=yesterday"], 2);
    assert!(text.contains("2020-12-31T23:59:59-08:00"), "{text}");
    assert!(told(&["-mode=gerrit-cls", "-projects=none"], 2).contains("\"none\""));
    assert!(told(&["-mode=workshop-stats"], 2).contains("-issue"));
    assert!(told(&["-mode=github-issue-close", "-repo=a/b"], 2).contains("a/b"));
}

/// A GitHub that knows teams and commits: the pages of each path, and nothing without the token.
fn github() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let commit = |n: usize, login: &str| {
        let author = match login {
            "" => "null".to_owned(),
            login => format!("{{\"login\":\"{login}\"}}"),
        };
        format!(
            "{{\"author\":{author},\"commit\":{{\"author\":{{\"name\":\"N{n}\",\"email\":\"n{n}@example.org\"}}}}}}"
        )
    };
    let first = (0..100).map(|n| commit(n % 2, ["ann", "bob"][n % 2]));
    let first = format!("[{}]", first.collect::<Vec<_>>().join(","));
    let second = format!("[{},{}]", commit(2, "cid"), commit(3, ""));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines
                .map(|line| line.unwrap())
                .take_while(|line| !line.is_empty())
                .collect();
            let asked = head[0].split(' ').nth(1).unwrap().to_owned();
            // robot:secret
            let known = head.iter().any(|l| l.ends_with("Basic cm9ib3Q6c2VjcmV0"));
            let (status, body) = match asked.as_str() {
                _ if !known => ("401 Unauthorized", "{}"),
                "/repos/golang/go/commits?per_page=100&page=1" => ("200 OK", &*first),
                "/repos/golang/go/commits?per_page=100&page=2" => ("200 OK", &*second),
                "/repos/golang/go/teams?per_page=100&page=1" => (
                    "200 OK",
                    r#"[{"name":"gophers","slug":"gophers"},{"name":"others","slug":"others"}]"#,
                ),
                "/orgs/golang/teams/gophers/members?per_page=100&page=1" => (
                    "200 OK",
                    r#"[{"login":"Ann"},{"login":"bob"},{"login":"gopherbot"},{"login":"new"}]"#,
                ),
                _ => ("404 Not Found", "{}"),
            };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    address
}

#[test]
fn gopherstats_asks_github_for_teams_and_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let (token, before) = (dir.path().join("token"), dir.path().join("before"));
    std::fs::write(&token, "robot:secret\n").unwrap();
    std::fs::write(&before, "2017-01-06: @bob\n").unwrap();
    let file = dir.path().join("people.toml");
    std::fs::write(
        &file,
        "[[person]]\nname = \"Ann\"\ngithub = [\"ann\"]\nemails = [\"n0@example.org\"]\ntags = [\"org:google\"]\n\
         [[person]]\nname = \"Bob\"\ngithub = [\"bob\"]\n\
         [[person]]\nname = \"Robot\"\ngithub = [\"gopherbot\"]\ntags = [\"bot\"]\n",
    )
    .unwrap();
    let flags = [
        format!("-people={}", file.display()),
        format!("-github-token={}", token.display()),
        format!("-github={}", github()),
    ];
    let ask = |more: &[&str]| {
        let mut args: Vec<&dyn AsRef<Path>> = Vec::new();
        args.extend(flags.iter().map(|flag| flag as &dyn AsRef<Path>));
        args.extend(more.iter().map(|flag| flag as &dyn AsRef<Path>));
        run("gopherstats", &args)
    };

    let before = format!("-before={}", before.display());
    let teams = ask(&["-mode=github-groups", &before]);
    assert_eq!(teams.code, Some(0), "{}", teams.err);
    let shown = dir.path().join("before");
    let wanted = format!(
        "Team {}: 1 total (0 goog, 1 ext)\nTeam gophers: 2 total (1 goog, 1 ext)\n",
        shown.display()
    );
    assert_eq!(teams.out, wanted);
    assert!(
        teams.err.contains("new"),
        "who is not known is told: {}",
        teams.err
    );

    // Ann's address is known; Bob's is not, and nobody knows Cid.
    let found = ask(&["-mode=find-github-email", "-format=csv"]);
    assert_eq!(found.code, Some(0), "{}", found.err);
    assert_eq!(found.out, "bob,N1,n1@example.org\ncid,N2,n2@example.org\n");
    let records = ask(&["-mode=find-github-email", "-discovery-go-repo=go"]);
    let people = build_client::gophers::People::parse("people.toml", &records.out).unwrap();
    assert_eq!(people.get("@cid").unwrap().emails, ["n2@example.org"]);

    let none = ask(&["-mode=github-groups", "-teams=none"]);
    assert_eq!(none.code, Some(2), "{}", none.err);
    let none = ask(&["-mode=find-github-email", "-repo=golang/none"]);
    assert_eq!(none.code, Some(3), "{}", none.err);
    assert!(none.err.contains("token may read it"), "{}", none.err);
    let bad = ask(&["-mode=find-github-email", "-repo=../x"]);
    assert_eq!(bad.code, Some(2), "{}", bad.err);
}
