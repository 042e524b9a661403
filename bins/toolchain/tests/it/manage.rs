//! `farmer-toolchain` itself: names, lists, rows of one's own, `gotip`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::story::{Story, archive_name, text};

const FARMER: &str = "farmer-toolchain";

#[test]
fn names_are_made_listed_and_removed() {
    let story = Story::new();
    story.put("go1.9", 10);
    story.put("go1.22.12", 10);
    let bin = story.home.path().join("bin");
    let at = bin.to_str().unwrap();
    let rows = story.home.path().join("rows.toml");
    std::fs::write(&rows, "[go]\nversions = \"{mirror}index.json\"\n").unwrap();
    story.mirror.put(
        "index.json",
        r#"[{"version":"go1.22.12"},{"version":"go1.22.9"},{"version":"go1.23rc1"}]"#,
    );
    let farmer = |args: &[&str]| {
        let mut command = story.program(FARMER);
        command.env("FARMER_TOOLCHAINS", &rows);
        command.args(args).output().unwrap()
    };
    let done = farmer(&[
        "install",
        "go1.9",
        "go@1.22",
        "gotip",
        "--dir",
        at,
        "--download",
    ]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    for name in ["go1.9", "go1.22.12", "gotip"] {
        assert!(bin.join(name).exists(), "{name}");
    }
    let mut by_link = Command::new(bin.join("go1.22.12"));
    let ran = by_link
        .arg("version")
        .env("HOME", story.home.path())
        .output()
        .unwrap();
    assert_eq!(text(&ran.stdout), "go version go1.22.12\n");
    // Without a link.
    let ran = farmer(&["go1.9", "version"]);
    assert_eq!(text(&ran.stdout), "go version go1.9\n");

    std::fs::create_dir_all(story.root("go1.10")).unwrap();
    let listed = text(&farmer(&["list", "--json"]).stdout);
    let listed: Vec<serde_json::Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = listed
        .iter()
        .map(|one| {
            (
                one["name"].as_str().unwrap(),
                one["ready"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [("go1.9", true), ("go1.10", false), ("go1.22.12", true)]
    );
    assert!(text(&farmer(&["list"]).stdout).contains("go1.10           "));

    let env = text(&farmer(&["env", "go1.9"]).stdout);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{env}\ngo version"));
    assert_eq!(text(&shell.output().unwrap().stdout), "go version go1.9\n");

    // Another program of that name is not touched.
    std::fs::write(bin.join("go1.8"), "mine").unwrap();
    let refused = farmer(&["install", "go1.8", "--dir", at]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("--force"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(std::fs::read(bin.join("go1.8")).unwrap(), b"mine");

    assert!(farmer(&["remove", "go1.9", "--dir", at]).status.success());
    assert!(!bin.join("go1.9").exists() && !story.root("go1.9").exists());
    assert_eq!(farmer(&["remove", "go1.9"]).status.code(), Some(1));
}

#[test]
fn several_are_downloaded_at_once_and_each_failure_is_told() {
    let story = Story::new();
    for name in ["go1.8", "go1.9", "go1.10"] {
        story.put(name, 10);
    }
    let done = story.run(
        FARMER,
        &[
            "download", "--json", "go1.8", "go1.77", "go1.9", "go1.10", "go1.78",
        ],
    );
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(
        text(&done.stdout).lines().count(),
        3,
        "{}",
        text(&done.stdout)
    );
    let told = text(&done.stderr);
    assert!(told.contains("go1.77") && told.contains("go1.78"), "{told}");
    // For another machine, elsewhere.
    let archive = build_client::testing::go_archive("go1.9", 10).unwrap();
    story
        .mirror
        .put_archive("go1.9.darwin-arm64.tar.gz", archive);
    let other = story.home.path().join("other");
    let done = story.run(
        FARMER,
        &[
            "download",
            "--platform",
            "darwin-arm64",
            "--into",
            other.to_str().unwrap(),
            "go1.9",
        ],
    );
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(other.join("go1.9/bin/go").exists());
}

#[test]
fn mistakes_are_told_with_the_remedy() {
    let story = Story::new();
    for (args, told) in [
        (vec!["download", "go"], "is not the name of a toolchain"),
        (vec!["download", "cobol1.2"], "go, node, rust, zig"),
        (vec!["download", "go@x"], "not a version"),
        (
            vec!["download", "--platform", "x", "--into", "y", "go1.9"],
            "linux-amd64",
        ),
        (vec!["nothing"], "unrecognized"),
        (vec![], "Usage"),
    ] {
        let done = story.run(FARMER, &args);
        assert_eq!(done.status.code(), Some(2), "{args:?}");
        assert!(
            text(&done.stderr).contains(told),
            "{args:?}: {}",
            text(&done.stderr)
        );
    }
    let help = text(&story.run(FARMER, &["--help"]).stdout);
    assert!(
        help.contains("Examples:") && help.contains("FARMER_SDK"),
        "{help}"
    );
    let rows = story.home.path().join("rows.toml");
    std::fs::write(&rows, "[go]\nmirrors = 1\n").unwrap();
    let mut command = story.program("go1.9");
    let done = command
        .arg("download")
        .env("FARMER_TOOLCHAINS", &rows)
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(
        text(&done.stderr).contains("rows.toml"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn mirrors_and_proxies_come_from_the_environment() {
    let (story, proxy) = (Story::new(), Story::new());
    proxy.put("go1.9", 10);
    let mut command = story.program("go1.9");
    command.env(
        "FARMER_MIRROR_GO",
        "http://first.invalid/, http://second.invalid/golang",
    );
    command.env(
        "HTTP_PROXY",
        proxy.mirror.url().trim_start_matches("http://"),
    );
    let done = command.arg("download").output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    // The first mirror is asked by the proxy for the same path.
    assert!(
        proxy
            .mirror
            .requests()
            .contains(&format!("GET /{}", archive_name("go1.9")))
    );
}

#[test]
fn a_command_gets_the_toolchains_that_it_asks_for() {
    let story = Story::new();
    story.put("go1.22.12", 10);
    story.mirror.put(
        "index.json",
        r#"[{"version":"go1.22.12"},{"version":"go1.22.9"}]"#,
    );
    let rows = story.home.path().join("rows.toml");
    std::fs::write(&rows, "[go]\nversions = \"{mirror}index.json\"\n").unwrap();
    let exec = |name: &str, command: &[&str]| {
        let mut program = story.program(FARMER);
        program
            .env("FARMER_TOOLCHAINS", &rows)
            .args(["exec", name, "--"])
            .args(command);
        program.output().unwrap()
    };
    let done = exec("go@1.22", &["sh", "-c", "go version; exit 7"]);
    assert_eq!(
        (text(&done.stdout), done.status.code()),
        ("go version go1.22.12\n".to_owned(), Some(7))
    );
    // What is there and fits is taken without asking.
    let before = story.mirror.requests().len();
    assert_eq!(
        text(&exec("go@1.22", &["go", "version"]).stdout),
        "go version go1.22.12\n"
    );
    assert_eq!(story.mirror.requests().len(), before);
    for absent in ["go@1.23", "go1.77", "cobol@1"] {
        let done = exec(absent, &["true"]);
        assert_eq!(done.status.code(), Some(2), "{absent}");
        let told = format!("the toolchain {absent} is not available");
        assert!(text(&done.stderr).contains(&told), "{}", text(&done.stderr));
    }
}

fn git(dir: &Path, args: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(dir)
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost"]);
    let done = git.args(args).output().unwrap();
    assert!(
        done.status.success(),
        "git {args:?}: {}",
        text(&done.stderr)
    );
}

#[test]
fn gotip_is_built_asked_about_and_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let story = Story::new();
    let remote = story.home.path().join("go.git");
    std::fs::create_dir_all(remote.join("src")).unwrap();
    git(&remote, &["init", "-q", "-b", "master"]);
    let make = remote.join("src/make.bash");
    let script = "#!/bin/sh\nmkdir -p ../bin && cp go ../bin/go\n";
    std::fs::write(&make, script).unwrap();
    std::fs::write(
        remote.join("src/go"),
        "#!/bin/sh\necho \"tip $GOTOOLCHAIN $GOROOT $*\"\n",
    )
    .unwrap();
    for file in [&make, &remote.join("src/go")] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    git(&remote, &["add", "-A"]);
    git(&remote, &["commit", "-q", "-m", "one"]);
    git(&remote, &["update-ref", "refs/changes/07/7/1", "HEAD"]);
    let gotip = |args: &[&str], answer: &str| {
        let mut command = story.program("gotip");
        command.env("FARMER_GOTIP_REMOTE", &remote).args(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = command.spawn().unwrap();
        // One that asks nothing does not read it.
        let _unread = running.stdin.take().unwrap().write_all(answer.as_bytes());
        running.wait_with_output().unwrap()
    };
    let early = gotip(&["version"], "");
    assert_eq!(early.status.code(), Some(1));
    assert!(
        text(&early.stderr)
            .starts_with("gotip: not downloaded. Run 'gotip download' to install to ")
    );
    assert_eq!(gotip(&["download", "7"], "n\n").status.code(), Some(1));
    assert!(!story.root("gotip").exists());
    let done = gotip(&["download", "7"], "y\n");
    assert!(
        text(&done.stderr).ends_with("Success. You may now run 'gotip'!\n"),
        "{}",
        text(&done.stderr)
    );
    let root = story.root("gotip");
    let ran = gotip(&["build", "x"], "");
    assert_eq!(
        text(&ran.stdout),
        format!("tip auto {} build x\n", root.display())
    );
    assert!(gotip(&["download"], "").status.success());
    assert!(gotip(&["update"], "").status.success());
    assert_eq!(gotip(&["download", "a", "b"], "").status.code(), Some(2));
    assert_eq!(gotip(&["download", "absent"], "").status.code(), Some(1));
}
