//! Our `gomote` against the coordinator and the buildlet of the Go project of December 2020.
//! They know one address, `localhost:8119`: all of them run in a network of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../build-server/tests/gomote2020"
);

/// What a user does, one line of output for each result. A run whose state the peer has lost
/// (it does, now and then, as docs/compatibility.md says) is asked for again.
const SCRIPT: &str = r#"
set -u
ip link set lo up
G() { HOME="$T/hg" USER=tester GOROOT="$T/goroot" "$FARMER" gomote -localdev "$@"; }
mkdir -p "$T/hg/.config/gomote" "$T/hc" "$T/hb" "$T/wd"
echo x > "$T/hg/.config/gomote/user-tester.token"
(cd "$COORDINATOR_DIR" && HOME="$T/hc" exec "$PEERS/coordinator" -mode=dev) >"$T/c.log" 2>&1 &
C=$!
n=0; until G list >/dev/null 2>&1; do n=$((n+1)); [ $n -gt 300 ] && { echo "the coordinator does not answer"; tail -5 "$T/c.log"; exit 1; }; sleep 0.2; done
HOME="$T/hb" "$PEERS/buildlet" -coordinator=localhost:8119 -reverse-type=host-linux-amd64-localdev -hostname=bl1 -halt=false -workdir="$T/wd" >"$T/b.log" 2>&1 &
B=$!
trap 'kill $C $B 2>/dev/null' EXIT
I=$(G create linux-amd64-localdev 2>"$T/create.err"); echo "create $? $I"
R() { n=0; while :; do G run "$@"; r=$?; n=$((n+1)); [ $r -ne 125 ] || [ $n -ge 8 ] && return $r; done; }
G list | cut -f1-3 | sed 's/^/list /'
echo "status $(G ping -status "$I" | tail -1)"
G push "$I" 2>/dev/null; echo "push $?"
G -json push "$I" 2>/dev/null | sed 's/.*"sent":\([0-9]*\).*/again \1/'
echo "fine $(R -e 'A=b c' "$I" /bin/sh -c 'echo $A')"
R "$I" /bin/sh -c 'exit 7' 2>/dev/null; echo "seven $?"
G ls -R "$I" go | cut -f2 | tr '\n' ' ' | sed 's/^/ls /'; echo
printf '#!/bin/sh\necho tool\n' | G put -mode=0755 "$I" - d/tool; echo "put $?"
echo "tool $(R "$I" d/tool)"
G gettar -dir d -o "$T/d.tgz" "$I" 2>/dev/null; echo "gettar $?"
G puttar -dir=e "$I" "$T/d.tgz"; echo "puttar $?"
echo "copied $(R "$I" e/tool)"
G rm "$I" d e; echo "rm $?"
G ls "$I" e >/dev/null 2>&1; echo "gone $?"
G destroy "$I"; echo "destroy $?"
G create nosuch 2>&1 | grep -c "unknown builder type in 'builderType' parameter"
"#;

fn skipped(why: &str) {
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "no test against Go's coordinator: {why}");
    eprintln!("SKIPPED: no test against Go's coordinator: {why}");
}

/// The programs, built once, and where the coordinator has its pages.
fn peers() -> Result<(PathBuf, String), String> {
    let go = |args: &[&str]| {
        let output = Command::new("go")
            .args(args)
            .current_dir(SOURCES)
            .env("GOFLAGS", "-mod=readonly")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("go: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gomote2020");
    let out = format!("{}/", dir.display());
    let root = "golang.org/x/build";
    let (coordinator, buildlet) = (
        format!("{root}/cmd/coordinator"),
        format!("{root}/cmd/buildlet"),
    );
    go(&["build", "-o", &out, &coordinator, &buildlet])?;
    let module = go(&["list", "-m", "-f", "{{.Dir}}", root])?;
    Ok((dir, format!("{module}/cmd/coordinator")))
}

#[test]
fn our_gomote_uses_the_machines_of_gos_coordinator() {
    let lo = Command::new("unshare")
        .args(["-rn", "ip", "link", "set", "lo", "up"])
        .output();
    match lo {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skipped(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => return skipped(&format!("unshare: {error}")),
    }
    let (peers, coordinator_dir) = match peers() {
        Ok(peers) => peers,
        Err(why) => return skipped(&why),
    };
    let home = tempfile::tempdir().unwrap();
    let goroot = home.path().join("goroot/src");
    std::fs::create_dir_all(&goroot).unwrap();
    std::fs::write(goroot.join("a.go"), "package a\n").unwrap();
    std::fs::write(goroot.join("b.go"), "package b\n").unwrap();
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", SCRIPT])
        .env("T", home.path())
        .env("PEERS", peers)
        .env("COORDINATOR_DIR", coordinator_dir)
        .env("FARMER", env!("CARGO_BIN_EXE_farmer-tools"))
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("GOMOTE_GROUP")
        .env_remove("GOMOTE_SERVER")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = "user-tester-linux-amd64-localdev-0";
    let want = format!(
        "create 0 {name}\nlist {name}\tlinux-amd64-localdev\thost-linux-amd64-localdev\nstatus status: {{Version:25}}\n\
         push 0\nagain 0\nfine b c\nseven 7\nls VERSION src/ src/a.go src/b.go \nput 0\ntool tool\ngettar 0\nputtar 0\n\
         copied tool\nrm 0\ngone 1\ndestroy 0\n1\n"
    );
    assert_eq!(out, want, "{}", String::from_utf8_lossy(&output.stderr));
}
