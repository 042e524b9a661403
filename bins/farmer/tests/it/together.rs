//! Several programs, one data directory; and what the farm stands on is taken away from under it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use crate::processes::{below, kill, wait_until};
use crate::repo::{Repo, Run};
use crate::up::{ECHO, Farm, SOON, builds, wait_for_build};

/// Says its word once the file is there.
fn waits_for(file: &std::path::Path) -> String {
    let file = file.display();
    format!(
        "[[step]]\nname = \"wait\"\nrun = \"echo $$ >>{file}.begun; until [ -e {file} ]; do sleep 0.02; done; cat word\"\n"
    )
}

fn begun(repo: &Repo, args: &[&str]) -> Child {
    let mut command = repo.farmer();
    command.arg("build").args(args);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn ended(child: Child) -> Run {
    Run::of(child.wait_with_output().unwrap())
}

fn running(repo: &Repo) -> usize {
    let all = builds(repo);
    all.iter().filter(|b| b["state"] == "running").count()
}

#[test]
fn two_builds_at_once_share_the_farm_and_one_goes_on_when_the_other_is_stopped() {
    let repo = Repo::new();
    let go = repo.home().join("go");
    repo.write(".farmer.toml", &waits_for(&go));
    let first = repo.write("word", "alpha\n").commit("first");
    let second = repo.write("word", "beta\n").commit("second");
    let of_first = begun(&repo, &["--machines", "2", "--rev", &first]);
    wait_until("the first runs", SOON, || running(&repo) == 1);
    // It is as no other: whoever comes waits, and says for whom.
    let mut of_second = begun(&repo, &["--rev", &second]);
    let mut said = String::new();
    let stderr = of_second.stderr.take().unwrap();
    BufReader::new(stderr).read_line(&mut said).unwrap();
    let waits = "waits for the end of farmer build --machines 2";
    assert!(said.contains(waits), "{said}");
    kill(of_second.id(), "INT");
    ended(of_second).exits(130);
    kill(of_first.id(), "INT");
    ended(of_first).exits(130);

    // Builds of one kind share the program that was there first, and its machines.
    let of_first = begun(&repo, &["--rev", &first]);
    wait_until("the first runs again", SOON, || running(&repo) == 1);
    let of_second = begun(&repo, &["--rev", &second]);
    let is_known = |commit: &String| {
        builds(&repo)
            .iter()
            .any(|b| b["item"]["commit"] == **commit)
    };
    wait_until("the second is asked for", SOON, || is_known(&second));
    kill(of_first.id(), "INT");
    ended(of_first).exits(130);
    std::fs::write(&go, "").unwrap();
    let went_on = ended(of_second).exits(0);
    assert!(
        went_on.err().contains("this one goes on"),
        "{}",
        went_on.err()
    );
    assert!(went_on.out().contains("beta"), "{}", went_on.out());

    // Whoever is first waits for what others have asked of it.
    std::fs::remove_file(&go).unwrap();
    let of_first = begun(&repo, &["--rev", &first]);
    wait_until("the first runs once more", SOON, || running(&repo) == 1);
    repo.run(&["cancel", "nothing"]).exits(2);
    let third = repo.write("word", "gamma\n").commit("third");
    let of_third = begun(&repo, &["--rev", &third, "--json"]);
    wait_until("the third is asked for", SOON, || is_known(&third));
    std::fs::write(&go, "").unwrap();
    let first_said = ended(of_first).exits(0);
    assert!(first_said.out().contains("alpha"), "{}", first_said.out());
    ended(of_third).exits(0);
    wait_until("no process is left", SOON, || {
        below(&repo.data()).is_empty()
    });
}

#[test]
fn a_data_directory_that_is_removed_ends_the_farm_with_one_sentence() {
    let repo = Repo::new();
    let go = repo.home().join("go");
    let commit = repo.write(".farmer.toml", &waits_for(&go)).commit("first");
    let farm = Farm::start_with(&repo, &["--machines", "1"]);
    wait_for_build(&repo, &commit, "running");
    // The farm makes files there meanwhile.
    wait_until("all is removed", SOON, || {
        build_core::tree::remove_tree(&repo.data()).is_ok()
    });
    let said = farm.ended().exits(3).err();
    let told: Vec<_> = said
        .lines()
        .filter(|line| line.contains("removed"))
        .collect();
    assert_eq!(told.len(), 1, "{said}");
    assert!(
        told[0].contains("was removed or replaced while the farm ran"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    assert!(
        !repo.data().exists(),
        "nothing is made there again: {:?}",
        std::fs::read_dir(repo.data())
    );
    wait_until("no process is left", SOON, || {
        below(&repo.data()).is_empty()
    });
    // And a new farm begins there.
    std::fs::write(&go, "").unwrap();
    repo.write("word", "new\n").commit("second");
    repo.run(&["build"]).exits(0);
}

#[test]
fn a_program_that_is_replaced_or_removed_while_it_runs_builds_on() {
    let repo = Repo::new();
    let first = repo
        .write(".farmer.toml", ECHO)
        .write("word", "a\n")
        .commit("first");
    let program = repo.home().join("farmer");
    let built = env!("CARGO_BIN_EXE_farmer");
    if std::fs::hard_link(built, &program).is_err() {
        std::fs::copy(built, &program).unwrap();
    }
    let mut command = Command::new(&program);
    let farmer = repo.farmer();
    let set = farmer
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command
        .envs(set)
        .current_dir(repo.path())
        .stdin(Stdio::null());
    let farm = Farm::of(command, &["--machines", "1"]);
    wait_for_build(&repo, &first, "passed");
    std::fs::remove_file(&program).unwrap();
    let second = repo.write("word", "b\n").commit("second");
    wait_for_build(&repo, &second, "passed");
    std::fs::write(&program, "#!/bin/sh\necho 'not this one' >&2\nexit 7\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Spares were started by the program as it was: more builds than there are of them.
    for n in 0..4 {
        let next = repo.write("word", &format!("c{n}\n")).commit("next");
        wait_for_build(&repo, &next, "passed");
    }
    let said = farm.stop().exits(0).err();
    assert!(!said.contains("not this one"), "{said}");
}
