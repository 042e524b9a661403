//! Our `gomote` against the Go project's own server of later years, as far as that can be had
//! (`tests/gomote_server`). `.ci/stores.py gomote` compiles it, starts a server that stands for
//! Google Cloud Storage, and runs this.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::gomote::Machine;
use super::{Ran, program, run};

const BUILDER: &str = "gotip-linux-amd64-boringcrypto";

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(machine: &Machine) -> Self {
        let named = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is not set: .ci/stores.py gomote"))
        };
        let emulator = named("MAINTNER_TEST_GCS").replace("http://", "");
        let mut child = Command::new(named("FARMER_TEST_GOMOTE_SERVER"))
            .args(["-test.run=TestFarmerPeer", "-test.timeout=10m"])
            .env("FARMER_BUILDLET", machine.address())
            .env("STORAGE_EMULATOR_HOST", emulator)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("listening on ").map(str::to_owned)
        });
        // The rest must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("it listens"),
        }
    }

    fn gomote(&self, home: &Path, args: &[&str]) -> Ran {
        let mut command = program("gomote");
        command
            .args(["-user=tester", "-server", &self.address])
            .args(args)
            .current_dir(home)
            .env("HOME", home)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("GOMOTE_GROUP")
            .env_remove("GOMOTE_SERVER");
        run(&mut command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs servers: python3 .ci/stores.py gomote"]
fn our_gomote_uses_the_machines_of_gos_server_of_later_years() {
    let machine = Machine::start();
    let server = Server::start(&machine);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let config = home.join(".config/gomote");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("user-tester.token"), "a-token").unwrap();
    std::fs::create_dir_all(home.join("tree/sub")).unwrap();
    std::fs::write(home.join("tree/sub/a"), "a\n").unwrap();
    let ran = |args: &[&str]| server.gomote(home, args);
    let fine = |args: &[&str]| {
        let ran = ran(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
        ran.out
    };

    let unknown = ran(&["create", "nosuch"]);
    assert_eq!(unknown.code, Some(1), "{}", unknown.err);
    assert!(
        unknown.err.contains("unknown builder type"),
        "{}",
        unknown.err
    );
    let id = fine(&["create", BUILDER]).trim().to_owned();
    assert_eq!(id, format!("tester-{BUILDER}-0"));
    assert!(fine(&["list"]).starts_with(&format!("{id}\t{BUILDER}\t")));
    fine(&["ping", &id]);
    assert!(fine(&["ping", "-status", &id]).starts_with("workdir: /"));
    fine(&["push", "-root", "tree", "-remote-dir", "tree", &id]);
    let again = fine(&["-json", "push", "-root", "tree", "-remote-dir", "tree", &id]);
    assert!(again.contains("\"sent\":0"), "{again}");
    let echoed = fine(&[
        "run",
        "-e",
        "A=b c",
        &id,
        "/bin/sh",
        "-c",
        "echo $A; cat tree/sub/a",
    ]);
    assert_eq!(echoed, "b c\na\n");
    let seven = ran(&["run", &id, "/bin/sh", "-c", "echo out; exit 7"]);
    assert_eq!(
        (seven.code, seven.out.as_str()),
        (Some(7), "out\n"),
        "{}",
        seven.err
    );
    let absent = ran(&["run", &id, "nosuch"]);
    assert_ne!(absent.code, Some(0), "{}", absent.err);
    let empty = fine(&["run", "-path=EMPTY", &id, "/usr/bin/env"]);
    assert!(
        !empty.lines().any(|line| line.starts_with("PATH=")),
        "{empty}"
    );
    std::fs::write(home.join("tool"), "#!/bin/sh\necho tool\n").unwrap();
    fine(&["put", "-mode=0755", &id, "tool", "d/tool"]);
    assert_eq!(fine(&["run", &id, "d/tool"]), "tool\n");
    fine(&["gettar", "-dir=d", "-o", "d.tgz", &id]);
    fine(&["puttar", "-dir=e", &id, "d.tgz"]);
    assert_eq!(fine(&["run", &id, "e/tool"]), "tool\n");
    assert!(fine(&["ls", "-R", &id]).contains("e/tool"));
    fine(&["rm", &id, "d", "e"]);
    assert_ne!(ran(&["ls", &id, "e"]).code, Some(0));
    let forward = ran(&["forward", &id, "22"]);
    assert_ne!(forward.code, Some(0));
    let said = "the interface that this server speaks has no connections to ports";
    assert!(forward.err.contains(said), "{}", forward.err);
    fine(&["destroy", &id]);
    assert_eq!(fine(&["list"]), "");
}
