//! Bad days of a farm, all of them together: `farmer bench chaos`.

use std::process::Command;

/// Seeds in which each planted bug must be found; one or two were enough (docs/chaos.md).
const LIVES: &str = "8";
/// Bugs of whole programs, as `farmer bench chaos --plant` calls them.
const PLANTS: [&str; 7] = [
    "recursive-delete",
    "kept-connection",
    "patient-front",
    "unchecked-contents",
    "ended-sweep",
    "slow-stop",
    "followed-links",
];

/// True when a small disk can be mounted here. Where it cannot, that is said; in CI it is a failure.
fn can_mount() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "chaos"])
        .arg(dir.path())
        .output();
    let mounted = mounted.is_ok_and(|output| output.status.success());
    if mounted {
        let status = Command::new("umount").arg(dir.path()).status();
        assert!(status.unwrap().success());
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI must be allowed to mount a tmpfs"
    );
    eprintln!("SKIPPED: chaos needs a small disk, and mounting a tmpfs is not allowed here");
    false
}

fn chaos(args: &[&str]) {
    if !can_mount() {
        return;
    }
    let status = Command::new(env!("CARGO_BIN_EXE_farmer"))
        .args(["bench", "chaos"])
        .args(args)
        .status();
    assert!(status.unwrap().success(), "farmer bench chaos {args:?}");
}

#[test]
#[ignore = "a minute or two of a whole machine: .ci/run only chaos"]
fn a_farm_lives_through_bad_days() {
    let time = std::env::var("FARMER_CHAOS").unwrap_or_else(|_| "60s".to_owned());
    let seed = std::env::var("FARMER_SEED").unwrap_or_else(|_| "4".to_owned());
    chaos(&["--for", &time, "--lives", "100000", "--seed", &seed]);
}

#[test]
#[ignore = "long: .ci/run soak \"planted bugs of bad days\""]
fn each_planted_bug_of_a_bad_day_is_found() {
    for plant in PLANTS {
        chaos(&["--lives", LIVES, "--plant", plant]);
    }
}
