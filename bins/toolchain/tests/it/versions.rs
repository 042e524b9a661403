//! Every program of `version/*` of the reference date, under its very name.

use crate::story::{Story, archive_name, text};

/// Downloads, runs with arguments, environment and exit code, refuses a damaged archive.
fn works(name: &str) {
    let story = Story::new();
    let root = story.root(name);
    let shown = root.display();

    let early = story.run(name, &["version"]);
    assert_eq!(early.status.code(), Some(1));
    let told = format!("{name}: not downloaded. Run '{name} download' to install to {shown}\n");
    assert_eq!(text(&early.stderr), told);

    let absent = story.run(name, &["download"]);
    let (url, archive) = (story.mirror.url(), archive_name(name));
    let platform = build_client::toolchain::Platform::here();
    let told = format!(
        "{name}: download failed: no binary release of {name} for {platform} at {url}{archive}\n"
    );
    assert_eq!(
        (absent.status.code(), text(&absent.stderr)),
        (Some(1), told)
    );

    story.put(name, 100);
    story
        .mirror
        .put(&format!("{archive}.sha256"), "0".repeat(64));
    let corrupt = story.run(name, &["download"]);
    assert_eq!(corrupt.status.code(), Some(1));
    assert!(text(&corrupt.stderr).contains("corrupt? does not have expected SHA-256 of"));
    assert!(!root.exists());

    story.put(name, 100);
    let done = story.run(name, &["download"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).ends_with(&format!("Success. You may now run '{name}'\n")));
    assert!(done.stdout.is_empty());
    assert_eq!(std::fs::read(root.join(".unpacked-success")).unwrap(), b"");
    let again = story.run(name, &["download"]);
    assert_eq!(
        text(&again.stderr),
        format!("{name}: already downloaded in {shown}\n")
    );

    // Only alone is the word ours.
    let ran = story.run(name, &["download", "-x", "a b"]);
    let wanted = format!("GOROOT={shown}\nPATH={shown}/bin\narg=download\narg=-x\narg=a b\n");
    assert_eq!((text(&ran.stdout), ran.status.code()), (wanted, Some(0)));
    let version = story.run(name, &["version"]);
    assert_eq!(text(&version.stdout), format!("go version {name}\n"));
    assert_eq!(story.run(name, &["exit", "3"]).status.code(), Some(3));
}

/// A test a program, called as the program is.
macro_rules! versions {
    ($($test:ident = $name:literal,)*) => {
        $(#[test]
        fn $test() {
            works($name);
        })*
    };
}

versions! {
    go1_8 = "go1.8",
    go1_8_1 = "go1.8.1",
    go1_8_2 = "go1.8.2",
    go1_8_3 = "go1.8.3",
    go1_8_4 = "go1.8.4",
    go1_8_5 = "go1.8.5",
    go1_8_6 = "go1.8.6",
    go1_8_7 = "go1.8.7",
    go1_8beta1 = "go1.8beta1",
    go1_8beta2 = "go1.8beta2",
    go1_8rc1 = "go1.8rc1",
    go1_8rc2 = "go1.8rc2",
    go1_8rc3 = "go1.8rc3",
    go1_9 = "go1.9",
    go1_9_1 = "go1.9.1",
    go1_9_2 = "go1.9.2",
    go1_9_3 = "go1.9.3",
    go1_9_4 = "go1.9.4",
    go1_9_5 = "go1.9.5",
    go1_9_6 = "go1.9.6",
    go1_9_7 = "go1.9.7",
    go1_9beta1 = "go1.9beta1",
    go1_9beta2 = "go1.9beta2",
    go1_9rc1 = "go1.9rc1",
    go1_9rc2 = "go1.9rc2",
    go1_10 = "go1.10",
    go1_10_1 = "go1.10.1",
    go1_10_2 = "go1.10.2",
    go1_10_3 = "go1.10.3",
    go1_10beta1 = "go1.10beta1",
    go1_10beta2 = "go1.10beta2",
    go1_10rc1 = "go1.10rc1",
    go1_10rc2 = "go1.10rc2",
    go1_11beta1 = "go1.11beta1",
    a_version_of_the_future = "go1.99.7",
}

#[test]
fn input_and_signals_are_the_programs_own() {
    use std::io::Write as _;
    use std::os::unix::process::ExitStatusExt as _;
    let story = Story::new();
    story.put("go1.9", 10);
    assert!(story.run("go1.9", &["download"]).status.success());
    let killed = story.run("go1.9", &["kill", "TERM"]);
    assert_eq!(killed.status.signal(), Some(15));
    let mut cat = story.program("go1.9");
    cat.arg("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut cat = cat.spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through");
}
