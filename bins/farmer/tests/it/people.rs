//! Users and keys by the command line, beside a farm that runs.

use std::os::unix::fs::PermissionsExt as _;

use crate::processes::wait_until;
use crate::repo::Repo;
use crate::up::{ECHO, Farm, SOON};

/// What a farm answers to somebody who asks for a build of nothing: 400 for those who may.
fn asked(farm: &Farm, token: &str) -> u16 {
    let authorization = format!("Authorization: Bearer {}", token.trim());
    farm.ask(
        "POST",
        "/api/v1/builds/B000000000/cancel",
        &[&authorization],
    )
    .0
}

#[test]
fn keys_are_made_used_rotated_and_revoked_while_the_farm_runs() {
    let repo = Repo::new();
    repo.write(".farmer.toml", ECHO)
        .write("word", "x\n")
        .commit("first");
    let none = repo.run(&["key", "list"]).exits(2);
    assert!(none.err().contains("farmer up"), "{}", none.err());
    let farm = Farm::start_with(&repo, &["--machines", "1"]);
    let unknown = repo.run(&["key", "create", "ann"]).exits(2);
    assert!(
        unknown.err().contains("farmer user add"),
        "{}",
        unknown.err()
    );
    repo.run(&["user", "add", "ann"]).exits(0);
    let made = repo
        .run(&["key", "create", "ann", "--note", "laptop"])
        .exits(0);
    let token = made.out();
    assert!(token.starts_with("farmer_") && !made.err().contains(token.trim()));
    assert_eq!(
        asked(&farm, &token),
        404,
        "ann may end builds, and there is none"
    );

    let new = repo
        .run(&["--json", "key", "rotate", "--grace", "1s", &id(&repo)])
        .exits(0);
    let new = new.events().remove(0);
    let new = new["token"].as_str().unwrap();
    assert_eq!(asked(&farm, new), 404);
    wait_until("the old key has ended", SOON, || {
        asked(&farm, &token) == 401
    });
    repo.run(&["key", "revoke", &id(&repo)]).exits(0);
    assert_eq!(asked(&farm, new), 401, "at once");

    // Of whom it is known what they did, and from where they came.
    let log = repo.run(&["key", "log"]).exits(0).out();
    for part in [
        "added user ann",
        "made key K",
        "rotated key K",
        "revoked key K",
    ] {
        assert!(log.contains(part), "{part:?} is not in {log}");
    }
    farm.stop().exits(0);
    let log = repo.run(&["key", "log"]).exits(0).out();
    assert!(log.contains("refused a token (revoked) from "), "{log}");
    let listed = repo
        .run(&["--json", "key", "list", "--all"])
        .exits(0)
        .events();
    assert!(
        listed.iter().all(|key| key["used_from"].is_string()),
        "{listed:?}"
    );
    for text in [log, repo.run(&["key", "list", "--all"]).exits(0).out()] {
        assert!(!text.contains(token.trim()) && !text.contains(new));
    }
    let removed = repo.run(&["user", "remove", "ann"]).exits(0);
    assert!(removed.out().contains("removed"), "{}", removed.out());
}

/// The name of the newest key.
fn id(repo: &Repo) -> String {
    let keys = repo.run(&["--json", "key", "list"]).exits(0).events();
    keys[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_key_of_a_machine_comes_with_the_line_that_joins_it() {
    let repo = Repo::new();
    repo.commit("first");
    std::fs::create_dir(repo.data()).unwrap();
    let nowhere = repo.run(&["key", "builder", "board-7"]).exits(2);
    assert!(nowhere.err().contains("--url"), "{}", nowhere.err());
    let file = repo.home().join("key").display().to_string();
    let url = "https://farm.example.org:8119";
    let args = [
        "key",
        "builder",
        "board-7",
        "--host-type",
        "arm64",
        "--url",
        url,
        "--out",
        &file,
    ];
    let made = repo.run(&args).exits(0);
    let line = format!("farmer join {url} --token-file {file} --name board-7 --host-type arm64");
    assert!(made.err().contains(&line), "{}", made.err());
    assert_eq!(made.out(), "", "the key is in the file alone");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("farmer_")
    );
    let again = repo.run(&args).exits(2);
    assert!(again.err().contains("is there already"), "{}", again.err());
    let listed = repo.run(&["key", "list"]).exits(0).out();
    assert!(
        listed.contains("machine board-7  machine:arm64/board-7  never used"),
        "{listed}"
    );
}

#[test]
fn mistakes_are_told_with_their_remedy() {
    let repo = Repo::new();
    repo.commit("first");
    std::fs::create_dir(repo.data()).unwrap();
    for (args, said) in [
        (&["user", "add", "a b"][..], "no name of a user"),
        (
            &["user", "add", "ann", "--role", "builder"],
            "farmer key builder",
        ),
        (&["user", "add", "ann", "--role", "king"], "roles are"),
        (&["user", "role", "ann", "admin"], "no user \"ann\""),
        (&["user", "remove", "ann"], "farmer user list"),
        (&["key", "revoke", "K00000000"], "farmer key list"),
        (&["key", "revoke", "farmer_0000"], "not the name of a key"),
        (
            &["key", "create", "ann", "--scope", "everything"],
            "cannot be good for",
        ),
        (&["key", "create", "ann", "--expires", "soon"], "duration"),
        (&["key", "master", "retire"], "no master key before"),
        (
            &["key", "master", "import", "nowhere"],
            "cannot read nowhere",
        ),
        (&["key", "allow", "host-x"], "is not refused"),
    ] {
        let run = repo.run(args).exits(2);
        assert!(run.err().contains(said), "{args:?}: {}", run.err());
        assert!(
            !run.err().contains("farmer_0000")
                || args[2] != "farmer_0000"
                || run.err().contains("invalid value")
        );
    }
    for command in ["key", "user"] {
        let help = repo.run(&[command, "--help"]).exits(0).out();
        assert!(help.contains("Examples:"), "{help}");
    }
    let master = repo.run(&["key", "master", "new"]).exits(0);
    assert!(master.out().contains("who/master-keys"), "{}", master.out());
}
