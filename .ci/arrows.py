#!/usr/bin/env python3
"""Checks the dependency arrows between the crates and the size of what the libraries pull in.

build-core <- maintner-core <- build-client <- build-server <- bins; see docs/architecture.md.
"""
import json
import subprocess
import sys

ORDER = ["build-core", "maintner-core", "build-client", "build-server"]
RUNTIME_OR_HTTP = {"tokio", "async-std", "smol", "hyper", "axum", "reqwest", "tonic", "h2", "tower"}
C_CODE = {"cc", "cmake", "bindgen", "libsqlite3-sys", "ring", "aws-lc-sys", "openssl-sys", "zstd-sys", "libdeflate-sys", "libgit2-sys", "libz-sys"}
HEAVY = {"kube", "k8s-openapi", "bollard", "aws-sdk-ec2", "google-cloud-compute-v1", "datafusion", "russh", "octocrab", "parquet", "opentelemetry"}
# What a program has all the same: farmer is the one download; its sessions answer to ssh, and its traces
# go where a flag says (without gRPC that is eight small packages).
HEAVY_OF = {"farmer": {"opentelemetry", "russh"}}
# crate, extra cargo flags, packages at most (the crate itself counted), whether C is allowed
BUDGETS = [
    ("build-core", [], 50, False),
    ("maintner-core", ["--no-default-features"], 60, False),
    ("maintner-core", [], 110, False),
]
AGENT_PACKAGES = 120
# The agent may hold these two pieces of C and assembler, nothing else.
AGENT_C = {"cc", "ring", "libdeflate-sys"}
AGENT_FORBIDDEN = {"libsqlite3-sys", "openssl-sys", "aws-lc-sys", "regex", "regex-automata", "sqlx", "reqwest", "tracing-subscriber"}

problems = []


def cargo(*args):
    return subprocess.run(["cargo", *args], check=True, capture_output=True, text=True).stdout


def tree(package, *flags):
    lines = cargo("tree", "--package", package, "--edges", "normal,build", "--prefix", "none", *flags).splitlines()
    return {line.split()[0] for line in lines if line.strip()}


def check_arrows():
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--no-deps"))
    members = {package["name"]: package for package in metadata["packages"]}
    for name, package in members.items():
        rank = ORDER.index(name) if name in ORDER else len(ORDER)
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if dependency["kind"] == "dev" or other not in members or other == name:
                continue
            other_rank = ORDER.index(other) if other in ORDER else len(ORDER)
            if rank < len(ORDER) and other_rank > rank:
                problems.append(f"{name} depends on {other}, which is to its right")
            if {name, other} == {"build-core", "maintner-core"}:
                problems.append(f"{name} depends on {other}: they do not know each other")


def check_budget(package, flags, most, c_allowed):
    names = tree(package, *flags)
    shown = f"{package} {' '.join(flags) or 'with default features'}"
    print(f"{shown}: {len(names)} packages of {most}")
    if len(names) > most:
        problems.append(f"{shown} has {len(names)} packages, more than {most}")
    if found := names & RUNTIME_OR_HTTP:
        problems.append(f"{shown} holds a runtime or an HTTP stack: {', '.join(sorted(found))}")
    if not c_allowed and (found := names & C_CODE):
        problems.append(f"{shown} holds C: {', '.join(sorted(found))}")


def check_heavy():
    for name in json.loads(cargo("metadata", "--format-version", "1", "--no-deps"))["packages"]:
        if found := (tree(name["name"]) & HEAVY) - HEAVY_OF.get(name["name"], set()):
            problems.append(f"{name['name']} turns on a heavy dependency by default: {', '.join(sorted(found))}")


def check_one_tls():
    names = {p["name"] for p in json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"))["packages"]}
    if "aws-lc-sys" in names & set().union(*(tree(m) for m in ("farmer", "farmer-agent"))):
        problems.append("a default program links aws-lc beside ring")


def check_agent():
    names = tree("farmer-agent")
    print(f"farmer-agent: {len(names)} packages of {AGENT_PACKAGES}")
    if len(names) > AGENT_PACKAGES:
        problems.append(f"farmer-agent has {len(names)} packages, more than {AGENT_PACKAGES}")
    if found := (names & C_CODE) - AGENT_C:
        problems.append(f"farmer-agent holds C that is not on its list: {', '.join(sorted(found))}")
    if found := names & AGENT_FORBIDDEN:
        problems.append(f"farmer-agent holds what an agent does not need: {', '.join(sorted(found))}")


def check_unsafe():
    """One module may map files; there is no second one that lifts the lint."""
    found = subprocess.run(["git", "grep", "-lE", r"(expect|allow)\(unsafe_code", "--", "*.rs"], capture_output=True, text=True).stdout.split()
    for path in found:
        if path != "maintner-core/src/map.rs":
            problems.append(f"{path} lifts the ban on unsafe code")


check_arrows()
for budget in BUDGETS:
    check_budget(*budget)
check_heavy()
check_one_tls()
check_agent()
check_unsafe()
for problem in problems:
    print("arrows:", problem, file=sys.stderr)
sys.exit(bool(problems))
