#!/usr/bin/env python3
"""Runs every fuzz target for some time, on the toolchain that is there, beginning from the committed inputs.

    .ci/fuzz.py SECONDS [TARGET…]    two at a time; what is found lies in CRATE/fuzz/artifacts

libFuzzer needs instrumented code, not a nightly compiler.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATES = ("build-core", "maintner-core")
FLAGS = " ".join([
    "--cfg fuzzing", "-Cpasses=sancov-module", "-Ccodegen-units=1", "-Cdebug-assertions", "-Clink-dead-code",
    "-Cllvm-args=-sanitizer-coverage-level=4", "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table", "-Cllvm-args=-sanitizer-coverage-trace-compares",
])


def host():
    said = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return re.search(r"^host: (.*)$", said, re.M)[1]


def targets():
    """Names of targets with their crates."""
    return {path.stem: crate for crate in CRATES for path in sorted((ROOT / crate / "fuzz/fuzz_targets").glob("*.rs"))}


def build(crate, triple, seconds):
    # A target is named, so that programs which run during the build are not instrumented.
    # For a run of seconds, quick to build is worth more than quick to run.
    level = "1" if seconds < 60 else "3"
    env = os.environ | {"RUSTFLAGS": FLAGS, "CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only", "CARGO_PROFILE_RELEASE_OPT_LEVEL": level}
    env.pop("CARGO_TARGET_DIR", None)
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--target", triple], check=True, cwd=ROOT / crate / "fuzz", env=env)


def fuzz(name, crate, triple, seconds):
    """What the run said, and whether it found nothing."""
    own = ROOT / crate / "fuzz"
    artifacts = own / "artifacts" / name
    artifacts.mkdir(parents=True, exist_ok=True)
    # New inputs are worth keeping for long runs alone; the committed ones are left as they are.
    with tempfile.TemporaryDirectory() as found:
        command = [own / "target" / triple / "release" / name, found]
        if (own / "corpus" / name).is_dir():
            command.append(own / "corpus" / name)
        options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={artifacts}/"]
        ran = subprocess.run([*map(str, command), *options], capture_output=True, text=True, errors="replace", timeout=seconds + 120)
    return ran.stderr, ran.returncode == 0


def main(seconds, wanted):
    known = targets()
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
    chosen = {name: known[name] for name in wanted or known}
    triple = host()
    for crate in dict.fromkeys(chosen.values()):
        build(crate, triple, seconds)
    failed = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = {name: pool.submit(fuzz, name, crate, triple, seconds) for name, crate in chosen.items()}
        for name, run in runs.items():
            said, fine = run.result()
            done = re.findall(r"^Done (\d+) runs", said, re.M)
            print(f"fuzz {name}: {done[-1] if done else '?'} runs, {'nothing found' if fine else 'FOUND A FAULT'}", flush=True)
            if not fine:
                failed.append(name)
                print(said[-4000:])
    if failed:
        sys.exit(f"fuzz: {', '.join(failed)} failed; the inputs are in CRATE/fuzz/artifacts")
    print(f"{len(chosen)} fuzz targets, {seconds} s each")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    main(int(sys.argv[1]), sys.argv[2:])
