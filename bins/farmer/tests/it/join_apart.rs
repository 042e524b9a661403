//! A machine with a network, a directory and a process of its own joins by the line that is
//! printed with its key, and tests are split over it and the farm's machine.

use std::process::{Command, Stdio};

use crate::repo::Repo;

/// Two networks with one cable between them.
const SCRIPT: &str = r#"
set -u
U= J=
UNTIL() { what=$1; shift; n=0; until "$@" >/dev/null 2>&1; do n=$((n+1)); [ $n -gt 3000 ] && { echo "never: $what"; tail -5 "$T"/*.log; exit 1; }; sleep 0.02; done; }
ip link set lo up
unshare -n sleep 600 & N=$!
trap 'kill $N $U $J 2>/dev/null; wait' EXIT
apart() { [ "$(readlink /proc/$N/ns/net)" != "$(readlink /proc/self/ns/net)" ]; }
UNTIL "there are two networks" apart
ip link add veth0 type veth peer name veth1 netns $N
ip addr add 10.9.0.1/24 dev veth0; ip link set veth0 up
THERE() { nsenter -t $N -n "$@"; }
THERE ip addr add 10.9.0.2/24 dev veth1; THERE ip link set veth1 up
"$FARMER" up --addr 10.9.0.1 --port 0 --machines 1 --tls-dev >"$T/address" 2>"$T/up.log" & U=$!
UNTIL "the farm is there" grep -q https "$T/address"
"$FARMER" key builder box2 --out "$T/box2.key" >"$T/key.log" 2>&1
LINE=$(sed -n 's/.*farmer join //p' "$T/key.log" | head -1)
mkdir "$T/other"
BEGIN=$(date +%s%N)
(cd "$T/other"; exec nsenter -t $N -n "$FARMER" join $LINE --work-dir "$T/other/w") >"$T/join.log" 2>&1 & J=$!
HAS() { curl -sk "$(cat "$T/address")/api/v1/machines" | grep -q box2@local; }
UNTIL "it has joined" HAS
echo "joined in $(( ($(date +%s%N) - BEGIN) / 1000000 )) ms" >&2
"$FARMER" build >"$T/build.log" 2>&1; echo "build $?"
echo "here $(readlink /proc/self/ns/net)"
echo "there $(readlink /proc/$N/ns/net)"
"#;

fn skipped(why: &str) {
    eprintln!("SKIPPED: no test with two networks: {why}");
}

#[test]
fn tests_are_split_over_a_machine_with_a_network_of_its_own() {
    let able = Command::new("unshare")
        .args([
            "-rn",
            "sh",
            "-c",
            "ip link add veth0 type veth peer name veth1",
        ])
        .output();
    match able {
        Ok(output) if output.status.success() => {}
        // Not every system lets its users do that.
        Ok(output) => return skipped(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!in_ci, "unshare: {error}");
            return skipped(&format!("unshare: {error}"));
        }
    }
    let repo = Repo::new();
    let seen = repo.home().join("seen");
    std::fs::create_dir(&seen).unwrap();
    // Each shard waits for the other: one machine alone would never end.
    let line = format!(
        "for t in {{tests}}; do readlink /proc/self/ns/net >{0}/.$t && mv {0}/.$t {0}/$t; done; \
         for i in $(seq 1200); do [ $(ls {0} | wc -l) = 4 ] && exit 0; sleep 0.05; done; exit 1",
        seen.display()
    );
    repo.write(
        ".farmer.toml",
        &format!(
            "[[step]]\nname = \"test\"\nshards = 2\ntests = \"printf 'a\\\\nb\\\\nc\\\\nd\\\\n'\"\n\
             run = '''{line}'''\nshell = \"sh\"\n"
        ),
    );
    repo.commit("first");
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", SCRIPT])
        .current_dir(repo.path())
        .env("T", repo.home())
        .env("FARMER", env!("CARGO_BIN_EXE_farmer"))
        .env("FARMER_DATA", repo.data())
        .env("FARMER_SANDBOX", "none")
        .env("NO_COLOR", "1")
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    let log = |name: &str| std::fs::read_to_string(repo.home().join(name)).unwrap_or_default();
    let logs = || {
        format!(
            "{told}{}{}{}",
            log("build.log"),
            log("join.log"),
            log("up.log")
        )
    };
    assert!(out.starts_with("build 0\n"), "{out}{}", logs());
    let network = |whose: &str| {
        let mut lines = out.lines();
        let line = lines.find_map(|line| line.strip_prefix(whose));
        line.expect("a network").trim().to_owned()
    };
    let mut networks: Vec<String> = ["a", "b", "c", "d"]
        .map(|test| log(&format!("seen/{test}")).trim().to_owned())
        .to_vec();
    networks.sort();
    networks.dedup();
    let mut both = vec![network("here "), network("there ")];
    both.sort();
    assert_eq!(networks, both, "{}", logs());
    eprint!("{told}");
}
