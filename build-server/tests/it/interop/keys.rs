//! Go's genbuilderkey: the keys that it makes are known here, and no others.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use build_core::key::MasterKey;
use build_server::who::{Credential, Directory, Options, Right};

use super::compat;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/genbuilderkey2020");
const PROGRAM: &str = "golang.org/x/build/cmd/genbuilderkey";

/// The program, built once; `None` without Go.
fn genbuilderkey() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("genbuilderkey2020/genbuilderkey");
    if program.exists() {
        return Some(program);
    }
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(PROGRAM)
        .current_dir(SOURCES)
        .env("GOFLAGS", "")
        .stdin(Stdio::null())
        .output();
    let trouble = match built {
        Ok(output) if output.status.success() => return Some(program),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("go: {error}"),
    };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "genbuilderkey cannot be built: {trouble}");
    eprintln!("SKIPPED: no keys of Go's genbuilderkey, it cannot be built: {trouble}");
    None
}

/// Users, host types and builders.
const NAMES: [&str; 20] = [
    "user-gopher",
    "user-alice",
    "user-bob.smith",
    "user-x_y-z",
    "user-ann@example.org",
    "host-linux-jessie",
    "host-linux-amd64-localdev",
    "host-linux-arm64-packet",
    "host-darwin-10_15",
    "host-windows-arm64-10",
    "host-freebsd-12_0",
    "host-linux-s390x",
    "host-android-arm64-corellium-android",
    "linux-amd64",
    "linux-386-387",
    "windows-amd64-longtest",
    "plan9-386",
    "js-wasm",
    "misc-vet-vetall",
    "openbsd-mips64-jsing",
];

#[tokio::test]
async fn keys_of_twenty_names_and_two_master_keys_are_those_of_go() {
    let Some(program) = genbuilderkey() else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("keys")).unwrap();
    for secret in [
        "gophers rule\n",
        "\t a longer master key, with blanks \r\n\n",
    ] {
        std::fs::write(home.path().join("keys/gobuilder-master.key"), secret).unwrap();
        let master = MasterKey::new(secret).unwrap();
        let directory = Directory::memory_with(Options::default().master(master.clone()));
        for (name, next) in NAMES.iter().zip(NAMES.iter().cycle().skip(1)) {
            let output = Command::new(&program)
                .arg(name)
                .env("HOME", home.path())
                // There is no cloud here; nobody answers there.
                .env("GCE_METADATA_HOST", "127.0.0.1:1")
                .output()
                .unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{name}");
            let key = said.trim_end();
            assert_eq!(key, master.key_of(name), "{name}");
            assert_eq!(said, format!("{key}\n"));
            let shown = |name: &str| match name.starts_with("user-") {
                true => Credential::basic(name.to_owned(), key.to_owned()),
                false => Credential::builder(name.to_owned(), key.to_owned()),
            };
            let caller = directory.caller(&shown(name), None).await.unwrap();
            match name.strip_prefix("user-") {
                Some(user) => assert_eq!(caller.user(), Some(user)),
                None => {
                    let machine = Right::Register {
                        host_type: name,
                        name: "any",
                    };
                    assert!(caller.may(machine) && caller.may(Right::Post(name)));
                    assert!(
                        !caller.may(Right::Post(next)),
                        "{next} with the key of {name}"
                    );
                }
            }
            assert!(directory.caller(&shown(next), None).await.is_err());
        }
    }
    compat::record(
        &program,
        &[compat::Row {
            direction: "keys of Go, our directory",
            case: "20 names and two master keys, white space around them",
            seen: "the same keys; each is known as its own name",
            control: "the key of one name for the next one: refused",
        }],
    );
}
