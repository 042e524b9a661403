use super::*;

/// Runs the program to its end.
fn run(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir = new_dir();
    let output = command()
        .arg(format!("--workdir={}", dir.path().join("w").display()))
        .arg(format!(
            "--state-dir={}",
            dir.path().join("state").display()
        ))
        .args(args)
        .envs(env.iter().copied())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn it_refuses_to_serve_everybody() {
    let (code, text) = run(&["-listen=0.0.0.0:0"], &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("refusing to listen on 0.0.0.0:"), "{text}");
    assert!(text.contains("--i-know-this-is-insecure"), "{text}");
    let (code, _) = run(&["-listen=0.0.0.0:0"], &[("META_password", "only")]);
    assert_eq!(code, Some(2), "a password without TLS is sent in the clear");
}

#[test]
fn a_directory_that_somebody_lives_in_is_not_emptied() {
    // All of it in a directory of this test: should the check be missing, nothing else is lost.
    let dir = new_dir();
    let (work, home) = (dir.path().join("w"), dir.path().join("w/home"));
    let kept = work.join("tmp/kept");
    for path in [&home, kept.parent().unwrap()] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::write(&kept, "").unwrap();
    let output = command()
        .arg(format!("--workdir={}", work.display()))
        .arg(format!(
            "--state-dir={}",
            dir.path().join("state").display()
        ))
        .arg("-listen=127.0.0.1:0")
        .env("HOME", &home)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("is emptied") && text.contains("--workdir"),
        "{text}"
    );
    assert!(kept.exists());
}

#[test]
fn mistakes_are_named() {
    let (code, text) = run(&["--lissen=x"], &[]);
    assert_eq!(code, Some(2));
    assert!(
        text.contains("unknown flag --lissen") && text.contains("buildlet --help"),
        "{text}"
    );
    let (code, text) = run(&["--workdir=/nope"], &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("/nope"), "{text}");
    let (code, text) = run(&[], &[("META_tls_cert", "x")]);
    assert_eq!(code, Some(2));
    assert!(
        text.contains("META_tls_cert") && text.contains("META_tls_key"),
        "{text}"
    );
    let (code, text) = run(&["--lease-ttl=5s"], &[]);
    assert_eq!(code, Some(2));
    assert!(text.contains("FARMER_LEASE_NONCE"), "{text}");
}

#[test]
fn the_help_shows_examples_and_every_flag_of_go() {
    let output = command().arg("-help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Examples:"));
    for flag in [
        "halt",
        "reboot",
        "workdir",
        "listen",
        "reverse-type",
        "coordinator",
        "hostname",
    ] {
        assert!(text.contains(&format!("  --{flag}")), "{flag}");
    }
}

#[tokio::test]
async fn a_second_buildlet_of_the_same_directory_is_refused() {
    let first = Program::start(&[]);
    let second = command()
        .arg(format!("--workdir={}", first.path("w").display()))
        .arg(format!("--state-dir={}", first.path("state").display()))
        .arg(format!("--listen=unix:{}", first.path("s2").display()))
        .output()
        .unwrap();
    let text = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{text}");
    let owner = format!(
        "belongs to another running buildlet (process {})",
        first.child.id()
    );
    assert!(text.contains(&owner), "{text}");
    first.client().status().await.unwrap();
}

#[tokio::test]
async fn commands_see_no_secret_of_the_buildlet() {
    let program = Program::start(&[]);
    let done = program.client().exec(Exec::shell("env")).await.unwrap();
    assert!(done.text().contains("API_TOKEN=t") && done.text().contains("WORKDIR="));
    assert!(
        !done.text().contains("FARMER_LEASE_NONCE"),
        "{}",
        done.text()
    );
}

#[tokio::test]
async fn it_ends_a_second_after_halt_and_leaves_the_machine_alone() {
    let mut program = Program::start(&[]);
    let begin = Instant::now();
    program.client().close().await.unwrap();
    assert_eq!(program.ended().code(), Some(0));
    assert!(
        begin.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
    assert!(!program.path("s").exists() && !program.path("state/buildlet.json").exists());
}
