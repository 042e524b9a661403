#!/usr/bin/env python3
"""What takes longer than a check of each commit may: many seeds, many kills, fuzzing, benches.

Without arguments: runs everything and writes docs/soak.md, with the commit and the date. With names:
runs these alone. --check: warns of results that are older than the newest change of what they test.
"""
import datetime
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "soak.md"
HEAD = """# Soak

What `.ci/run soak` found: runs that take longer than a check of each commit may. CI warns when a result is older than
the newest change of the room it tests.

| Run | Room | Result | Took | Commit | Date |
|---|---|---|---|---|---|
"""


class Soak:
    def __init__(self, room, command, env=None):
        self.room, self.command, self.env = room, command, env or {}


# One choice of packages and features for all, so that one optimised build serves every run.
PACKAGES = ["build-core", "build-server", "maintner-core", "farmer", "farmer-agent", "farmer-tools"]
FEATURES = ",".join(f"build-server/{feature}" for feature in ("sqlite", "web", "grpc", "front"))
ALL = [*(part for package in PACKAGES for part in ("-p", package)), "--features", FEATURES]
PROGRAMS = ["cargo", "build", "--release", "--quiet", *ALL, "--bin", "farmer", "--bin", "buildlet", "--bench", "coordinator"]
SEEDS = {"FARMER_SEEDS": "10000"}
MADE = {"FARMER": str(ROOT / "target/release/farmer"), "FARMER_BUILDLET": str(ROOT / "target/release/buildlet")}


def test(*filters, lib=False):
    """The tests of these names, in an optimised build."""
    return ["cargo", "test", "--release", "--quiet", *ALL, *(["--lib"] if lib else ["--test", "it"]), "--", "--nocapture", *filters]


def bench(name, *args):
    return ["cargo", "bench", *ALL, "--bench", name, *(["--", *args] if args else [])]


RUNS = {
    "seeds of the farm": Soak("build-server/src/sim build-core/src/dispatch build-core/src/engine", test("seeds::"), SEEDS),
    "seeds of readers": Soak("build-core/src/reader", test("reader::", lib=True), SEEDS),
    "kills of a farm": Soak("build-server/src/readers build-server/src/store bins/farmer/src", test("kill::", "news::"), {"FARMER_KILLS": "200"}),
    "an hour of bad days": Soak("build-server/src bins/farmer/src", test("--ignored", "chaos::a_farm_lives"), {"FARMER_CHAOS": "1h", "FARMER_SEED": "1000"}),
    "planted bugs of bad days": Soak("bins/farmer/src/bench/chaos", test("--ignored", "chaos::each_planted")),
    "seeds of the corpus": Soak("maintner-core/src/sync maintner-core/src/netlog maintner-core/src/objstore", test("simulate::", "sync_sim::"), {"MAINTNER_SIM_SEEDS": "10000"}),
    "100,000 issues of GitHub, 300,000 refs of Gerrit": Soak("maintner-core/src/sync", test("a_first_comparison_takes_no_more_calls", "of_many_refs"), {"MAINTNER_SYNC_ISSUES": "100000", "MAINTNER_SYNC_REFS": "300000"}),
    "gigabytes of log, readers beside a writer": Soak("maintner-core/src/corpus maintner-core/src/log", test("--ignored", "check_10", "check_11")),
    "1,000 followers": Soak("maintner-core/src/net maintner-core/src/serve maintner-core/src/netlog", bench("follow")),
    "logs and contents in object stores": Soak("maintner-core/src/objstore build-server/src/store/object_blobs.rs", ["python3", ".ci/stores.py"]),
    "readers of 10,000,000 events": Soak("build-server/src/readers build-server/src/store", bench("readers"), {"FARMER_EVENTS": "10000000"}),
    "2,000 idle machines that register": Soak("build-server/src/pool/reverse build-server/src/front build-client/src/reverse", test("reverse::idle"), {"FARMER_IDLE_MACHINES": "2000"}),
    "many at once: 300 commits, 20,000 refs, 50 repositories": Soak("build-server/src/source build-server/src/coordinator", test("many::"), {"FARMER_PUSHED": "300", "FARMER_REFS": "20000", "FARMER_REPOSITORIES": "50", "FARMER_IDLE_MS": "10000"}),
    "9,500 half-open connections": Soak("build-server/src/front", test("front::a_thousand"), {"FARMER_HALF_OPEN": "9500"}),
    "handshakes and gRPC calls beside a bare server": Soak("build-server/src/front build-server/src/https build-server/src/grpc", bench("front")),
    "connections of machines beside Go's": Soak("build-core/src/revdial build-server/src/https", bench("revdial")),
    "work through reversed connections beside Go's": Soak("build-server/src/pool/reverse build-server/src/buildlet build-client/src/reverse", bench("reverse_peer")),
    "push and first command beside Go's gomote and rsync": Soak("build-client/src/gomote build-server/src/gomote", bench("gomote"), MADE),
    "benches of the coordinator": Soak("build-server/src/coordinator build-server/src/store", bench("coordinator", "append", "group", "restart", "trivial", "burst"), MADE),
    "attacks on a port": Soak("build-server/src/front build-server/src/web", [".ci/run", "only", "attacks"]),
    "features alone": Soak("Cargo.toml build-core/Cargo.toml build-client/Cargo.toml build-server/Cargo.toml maintner-core/Cargo.toml", [".ci/run", "only", "more_features"]),
    "edit and build": Soak("Cargo.toml", [".ci/run", "only", "edit_loop"]),
    "cold release build": Soak("Cargo.lock", [".ci/run", "only", "cold_release"]),
    "benches of the scheduler": Soak("build-core/src/schedule", bench("schedule")),
}
for crate in ("build-core", "maintner-core"):
    for target in sorted(path.stem for path in (ROOT / crate / "fuzz/fuzz_targets").glob("*.rs")):
        RUNS[f"fuzz {target}"] = Soak(f"{crate}/src", ["python3", ".ci/fuzz.py", "600", target])


def git(*args):
    return subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def rows():
    """The rows of the page by the name of their run."""
    if not PAGE.exists():
        return {}
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    return {line.split(" | ")[0][2:]: line for line in lines}


def figure(output):
    """What is worth a cell: the tests that passed, or the benches that were measured."""
    passed = sum(int(n) for n in re.findall(r"(\d+) passed", output))
    measured = len(re.findall(r"time:\s+\[|followers: append", output))
    cold = re.findall(r"cold release build of farmer: (\d+s), (\S+)", output)
    told = re.findall(r"^(\d+ idle machines: \d+ bytes each|all back in \S+|(?:handshakes|gRPC calls): .* of a bare .*|revdial: .*|reversed \w+: .*|\d+ followers: append to visible in a corpus [^;]*|burst of \d+: \d+ ms|\d+ (?:commits of one push|refs|repositories): .*|wake-up of \d+ readers behind +10000000 .*?\])", output, re.M)
    medians = [f"{name} {float(value):.4g} {unit}" for name, unit, value in re.findall(r'^\{"bench":"(?!burst)([^"]+)","unit":"([^"]+)".*?"(?:p50|median)":([0-9.]+)', output, re.M)]
    slow = [float(ms) for ms in re.findall(r"^attacks: .*p99 (?:of a page )?([0-9.]+) ms", output, re.M)]
    pages = [f"p99 of a page {slow[0]} ms, {max(slow[1:])} ms during attacks"] if slow[1:] else []
    loop = re.findall(r"^cargo dev after a change in build-core: (\d+s)", output, re.M)
    parts = [*loop, *pages, *dict.fromkeys(told), *medians, f"{passed} tests passed" if passed else "", f"{measured} benches measured" if measured else "", *(f"{took}, {spent} of processor time" for took, spent in cold)]
    return ", ".join(part for part in parts if part) or "no fault found"


def run(name, soak):
    print(f"=== {name}: {' '.join(soak.command)}", flush=True)
    if soak.env is MADE:
        subprocess.run(PROGRAMS, cwd=ROOT, check=True)
    begin = time.monotonic()
    ran = subprocess.run(soak.command, cwd=ROOT, env=os.environ | soak.env, capture_output=True, text=True)
    took = int(time.monotonic() - begin)
    result = figure(ran.stdout + ran.stderr) if ran.returncode == 0 else "FAILED"
    if ran.returncode:
        print(ran.stdout[-8000:], ran.stderr[-8000:], sep="\n")
    print(f"{name}: {result} after {took}s", flush=True)
    commit, date = git("rev-parse", "--short=10", "HEAD"), datetime.datetime.now(datetime.UTC).date()
    return f"| {name} | `{'` `'.join(soak.room.split())}` | {result} | {took} s | {commit} | {date} |"


def soak(names):
    known = rows()
    failed = False
    for name in names or RUNS:
        known[name] = run(name, RUNS[name])
        failed |= "| FAILED |" in known[name]
        PAGE.write_text(HEAD + "".join(f"{known[name]}\n" for name in RUNS if name in known))
    return 1 if failed else 0


def check():
    known = rows()
    for name, soak in RUNS.items():
        if name not in known:
            print(f"WARNING: {name} was never soaked: .ci/run soak")
            continue
        commit = known[name].split(" | ")[4]
        newer = subprocess.run(["git", "log", "--oneline", f"{commit}..HEAD", "--", *soak.room.split()], cwd=ROOT, capture_output=True, text=True)
        if newer.returncode or newer.stdout.strip():
            count = len(newer.stdout.splitlines())
            print(f"WARNING: {name}: {count or 'unknown'} changes of {soak.room} since it was soaked at {commit}")
    return 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--check"]:
        sys.exit(check())
    unknown = [name for name in arguments if name not in RUNS]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are: {', '.join(RUNS)}")
    sys.exit(soak(arguments))
