#!/usr/bin/env python3
"""Checks what comes in from outside against supply.toml: licences, banned crates, sources.

Everything in Cargo.lock that this platform builds, tests and tools included. It reads what cargo
knows already, so that a bare machine need not compile a checker first.
"""
import json
import pathlib
import re
import subprocess
import sys
import tomllib

RULES = tomllib.loads((pathlib.Path(__file__).parent / "supply.toml").read_text())
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression):
    """Whether an SPDX expression can be met; AND binds closer than OR, `/` is an old OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def licence_or_group():
        if tokens[0] == "(":
            tokens.pop(0)
            met = any_of()
            tokens.pop(0)
            return met
        name = tokens.pop(0)
        if tokens[:1] == ["WITH"]:
            name = f"{name} WITH {tokens[1]}"
            del tokens[:2]
        return name in RULES["licences"]

    def all_of():
        met = licence_or_group()
        while tokens[:1] == ["AND"]:
            tokens.pop(0)
            met &= licence_or_group()
        return met

    def any_of():
        met = all_of()
        while tokens[:1] == ["OR"]:
            tokens.pop(0)
            met |= all_of()
        return met

    return any_of()


assert allowed("MIT/Unknown") and allowed("(MIT OR X) AND Zlib") and not allowed("MIT AND X")
assert allowed("Apache-2.0 WITH LLVM-exception") and not allowed("MIT WITH other")

metadata = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
)
problems = []
outside = [package for package in metadata["packages"] if package["source"]]
for package in outside:
    name = f"{package['name']} {package['version']}"
    if package["source"] != REGISTRY:
        problems.append(f"{name} comes from {package['source']}")
    if reason := RULES["banned"].get(package["name"]):
        problems.append(f"{name} is banned: {reason}")
    if not package["license"]:
        problems.append(f"{name} names no licence")
    elif not allowed(package["license"]):
        problems.append(f"{name} has the licence {package['license']}, which is not on the list")
print(f"{len(outside)} packages from outside")
for problem in problems:
    print("supply:", problem, file=sys.stderr)
sys.exit(bool(problems))
