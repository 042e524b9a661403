//! The coordinator of the Go project of December 2020 as a judge: our machine registers at it and
//! is used through it, and our coordinator tells what it tells. It knows one address,
//! `localhost:8119`: all of them run in a network of their own.

#[path = "../../../../build-server/tests/it/interop/compat.rs"]
mod compat;
#[path = "../../../../build-server/tests/it/interop/peers.rs"]
mod peers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const KIND: &str = "host-linux-amd64-localdev";

/// What is done, one line of output for each result. A run whose state Go's coordinator has lost
/// (it does, now and then) is asked for again.
const SCRIPT: &str = r#"
set -u
ip link set lo up
export USER=tester
G() { HOME="$T/hg" GOROOT="$T/goroot" "$PEERS/gomote" -localdev "$@"; }
GET() { curl -sk --max-time 20 "$@"; }
mkdir -p "$T/hg/.config/gomote" "$T/hc" "$T/hb" "$T/wd" "$T/wd2" "$T/wd3" "$T/goroot/src"
echo x >"$T/hg/.config/gomote/user-tester.token"
THEIRS=https://localhost:8119 OURS=https://localhost:8120
(cd "$COORDINATOR_DIR" && HOME="$T/hc" exec "$PEERS/coordinator" -mode=dev) >"$T/c.log" 2>&1 &
C=$!
mkdir -p "$T/ho"
HOME="$T/ho" "$FARMER" coordinator -mode=dev -listen=127.0.0.1:8120 -data="$T/data" >"$T/o.log" 2>&1 &
O=$!
UNTIL() { what=$1; shift; n=0; until "$@" >/dev/null 2>&1; do n=$((n+1)); [ $n -gt 600 ] && { echo "never: $what"; tail -5 "$T"/*.log; exit 1; }; sleep 0.1; done; }
trap 'kill $C $O $B $B2 2>/dev/null; wait' EXIT
B= B2=
UNTIL "Go's answers" GET -f "$THEIRS/builders"
UNTIL "ours answers" GET -f "$OURS/builders"
MACHINE() { HOME="$T/hb" exec "$FARMER" buildlet "-coordinator=localhost:$1" -reverse-type=host-linux-amd64-localdev "-hostname=$2" -halt=false "-workdir=$3" --state-dir="$3.state" --stay "$4"; }
echo wrong >"$T/wrong"
(MACHINE 8119 stranger "$T/wd3" --key-file="$T/wrong") >"$T/w.log" 2>&1; echo "stranger $?"
grep -o "invalid build key" "$T/w.log" | head -1
MACHINE 8119 box1 "$T/wd" --log=info >"$T/b.log" 2>&1 &
B=$!
MACHINE 8120 box1 "$T/wd2" --log=info >"$T/b2.log" 2>&1 &
B2=$!
IDLE() { GET "$1/status/reverse.json" | tr -d ' \t\n' | grep -q '"box1".*"IdleSec".*"Version":"25","Busy":false'; }
UNTIL "it is at Go's" IDLE "$THEIRS"
UNTIL "it is at ours" IDLE "$OURS"
for d in 'builders?mode=json' status/reverse.json status/post-submit-active.json; do
  f=$(echo "$d" | tr '/?=' '---'); GET "$THEIRS/$d" >"$T/theirs-$f"; GET "$OURS/$d" >"$T/ours-$f"
done
for p in / /builders /dashboard /style.css /try /try.json /temporarylogs /nope /reverse /revdial /buildlet/list /buildlet/create; do
  A=$(GET -o "$T/a" -w '%{http_code}' "$THEIRS$p") D=$(GET -o "$T/d" -w '%{http_code}' "$OURS$p")
  [ "$A" = "$D" ] && echo "same $p $A" || echo "differs $p $A $D"
done
for p in /reverse /revdial /try.json; do GET "$THEIRS$p" >"$T/a"; GET "$OURS$p" >"$T/d"; cmp -s "$T/a" "$T/d" && echo "same text $p" || { echo "other text $p"; cat "$T/a" "$T/d"; }; done
I=$(G create linux-amd64-localdev 2>"$T/create.err"); echo "create $? $I"
GET "$THEIRS/status/reverse.json" >"$T/theirs-busy"
R() { n=0; while :; do G run "$@" >"$T/run.out" 2>"$T/run.err"; r=$?; n=$((n+1)); grep -q "Process-State" "$T/run.err" && [ $n -lt 8 ] && continue; cat "$T/run.out"; return $r; done; }
G list | cut -f1-3 | sed 's/^/list /'
G ping "$I" >/dev/null 2>&1; echo "ping $?"
echo "fine $(R -path='/bin:/usr/bin' -system "$I" echo b c)"
R -system "$I" false >/dev/null; echo "fails $?"
printf '#!/bin/sh\necho tool\n' >"$T/tool"; G put -mode=0755 "$I" "$T/tool" d/tool; echo "put $?"
echo "tool $(R "$I" d/tool)"
G gettar -dir=d "$I" >"$T/d.tgz"; echo "gettar $?"
G puttar -dir=e "$I" "$T/d.tgz"; echo "puttar $?"
echo "copied $(R "$I" e/tool)"
G ls "$I" e | tr -s '\t ' ' ' | cut -d' ' -f2 | sed 's/^/ls /'
G rm "$I" d e; echo "rm $?"
S=$(grep -c registered "$T/b.log")
G destroy "$I"; echo "destroy $?"
AGAIN() { [ "$(grep -c registered "$T/b.log")" -gt "$S" ] && IDLE "$THEIRS"; }
UNTIL "it has come back" AGAIN; echo again
"#;

fn skipped(why: &str) {
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "no test against Go's coordinator: {why}");
    eprintln!("SKIPPED: no test against Go's coordinator: {why}");
}

/// Where Go's coordinator has its pages.
fn coordinator_dir() -> PathBuf {
    let sources = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../build-server/tests/go2020"
    );
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "golang.org/x/build"])
        .current_dir(sources)
        .env("GOFLAGS", "-mod=readonly")
        .output()
        .unwrap();
    let dir = String::from_utf8(output.stdout).unwrap();
    Path::new(dir.trim()).join("cmd/coordinator")
}

/// A document of each of them.
fn documents(dir: &Path, name: &str) -> [String; 2] {
    ["theirs", "ours"].map(|whose| {
        let path = dir.join(format!("{whose}-{name}"));
        std::fs::read_to_string(&path).unwrap()
    })
}

/// The lines in which two documents differ, spent seconds aside.
fn differences(a: &str, b: &str) -> Vec<(String, String)> {
    let plain = |text: &str| -> Vec<String> {
        let lines = text.trim_end().lines();
        let lines = lines.map(|line| match line.split_once("Sec\": ") {
            Some((name, number)) => {
                let number: f64 = number.trim_end_matches(',').parse().unwrap();
                assert!(number > 0.0, "{line}");
                format!("{name}Sec")
            }
            None => line.to_owned(),
        });
        lines.collect()
    };
    let (a, b) = (plain(a), plain(b));
    assert_eq!(a.len(), b.len(), "{a:#?}\n{b:#?}");
    let pairs = a.into_iter().zip(b);
    pairs.filter(|(a, b)| a != b).collect()
}

#[test]
fn our_machine_and_our_documents_are_good_enough_for_the_go_coordinator() {
    let lo = Command::new("unshare")
        .args(["-rn", "ip", "link", "set", "lo", "up"])
        .output();
    match lo {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skipped(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => return skipped(&format!("unshare: {error}")),
    }
    let Some(programs) = peers::go2020() else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", SCRIPT])
        .env("T", home.path())
        .env("PEERS", programs)
        .env("COORDINATOR_DIR", coordinator_dir())
        .env("FARMER", env!("CARGO_BIN_EXE_farmer"))
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("GO_BUILD_KEY_PATH")
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    let name = "user-tester-linux-amd64-localdev-0";
    let want = format!(
        "stranger 1\ninvalid build key\nsame / 200\nsame /builders 200\nsame /dashboard 200\nsame /style.css 200\n\
         same /try 404\nsame /try.json 404\nsame /temporarylogs 404\nsame /nope 404\nsame /reverse 400\n\
         same /revdial 400\nsame /buildlet/list 400\nsame /buildlet/create 400\nsame text /reverse\n\
         same text /revdial\nsame text /try.json\ncreate 0 {name}\n\
         list {name}\tlinux-amd64-localdev\t{KIND}\nping 0\nfine b c\nfails 1\nput 0\ntool tool\ngettar 0\nputtar 0\n\
         copied tool\nls tool\nrm 0\ndestroy 0\nagain\n"
    );
    assert_eq!(out, want, "{told}");

    let one_host = |want: &str| {
        let pair = |n| format!("\t\t\t\"{want}\": {n},");
        vec![(pair(2), pair(1))]
    };
    let [theirs, ours] = documents(home.path(), "builders-mode-json");
    assert_eq!(differences(&theirs, &ours), one_host("ExpectNum"));
    let [theirs, ours] = documents(home.path(), "status-reverse.json");
    assert_eq!(differences(&theirs, &ours), one_host("Expect"));
    let busy = std::fs::read_to_string(home.path().join("theirs-busy")).unwrap();
    assert!(busy.contains("\"Busy\": true"), "{busy}");
    assert!(differences(&busy, &ours).len() > 3, "a held machine shows");
    let active = documents(home.path(), "status-post-submit-active.json");
    let active = active.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    assert_eq!(active, [Value::Null, Value::Array(vec![])]);

    let rows = [
        compat::Row {
            direction: "our buildlet, Go coordinator",
            case: "registers in dev mode, and again after a session",
            seen: "in its /status/reverse.json under its host name with version 25",
            control: "another key: 412, exit code 1",
        },
        compat::Row {
            direction: "our buildlet, Go coordinator, Go's gomote",
            case: "create, list, ping, run, put, gettar, puttar, ls, rm, destroy",
            seen: "every command did what it does on Go's buildlet",
            control: "a command that fails on the machine fails for gomote",
        },
        compat::Row {
            direction: "Go coordinator and ours, a machine at each",
            case: "/builders?mode=json, /status/reverse.json",
            seen: "equal but for the one number in which this version differs from 2020-12-23, and for times",
            control: "while a session holds the machine at one of them they differ in four lines",
        },
        compat::Row {
            direction: "Go coordinator and ours, a machine at each",
            case: "twelve addresses without credentials; the words of /reverse, /revdial, /try.json",
            seen: "the same answers; /status/post-submit-active.json is [] where Go says null",
            control: "/reverse without a version of revdial: 400, and why",
        },
    ];
    compat::record(&programs.join("coordinator"), &rows);
}
