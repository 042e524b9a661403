#!/usr/bin/env python3
"""Checks docs/rows.toml: every system of the mission, what carries it, and the test that proves it;
docs/failures.md: what went wrong elsewhere, and the tests that show that it does not here; and
docs/acceptance-corpus.md: what must hold of the corpus, and the tests that show it.

usage: rows.py TEST_OUTPUT     (what `cargo test --workspace` printed)
A row with `test`, a name or a list of names, is claimed as done: each must have run and passed.
"""
import re
import sys
import tomllib

rows = tomllib.load(open("docs/rows.toml", "rb"))["row"]
passed = set(re.findall(r"^test (\S+)(?: - [^.]*)? \.\.\. ok$", open(sys.argv[1], errors="replace").read(), re.M))
problems = []
seen = set()
done = 0
for row in rows:
    path, tests = row["path"], row.get("test") or []
    tests = [tests] if isinstance(tests, str) else tests
    if path in seen:
        problems.append(f"{path} is there twice")
    seen.add(path)
    if not tests:
        continue
    if not row.get("item"):
        problems.append(f"{path} names a test but not what carries it")
    absent = [test for test in tests if not any(name == test or name.endswith("::" + test) for name in passed)]
    problems += [f"{path}: the test {test} did not run and pass" for test in absent]
    done += not absent
last = {name.rsplit("::", 1)[-1] for name in passed}
failures = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", open("docs/failures.md").read(), re.M)
if [int(kind) for kind, _ in failures] != [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 20]:
    problems.append("docs/failures.md lacks a kind")
for kind, tests in failures:
    named = re.findall(r"`(\w+)`", tests)
    missing = [test for test in named if test not in last]
    problems += [f"failure {kind}: the test {test} did not run and pass" for test in missing]
    if not named:
        problems.append(f"failure {kind} names no test")
output = open(sys.argv[1], errors="replace").read()
known = passed | set(re.findall(r"^test (\S+)(?: - [^.]*)? \.\.\. ignored", output, re.M))
acceptance = open("docs/acceptance-corpus.md").read()
for test in sorted(set(re.findall(r"`(\w+(?:::\w+)+|check_\w+)`", acceptance))):
    if not any(name == test or name.endswith("::" + test) for name in known):
        problems.append(f"docs/acceptance-corpus.md: the test {test} did not run")
print(f"rows: {done}/{len(rows)}")
for problem in problems:
    print("rows:", problem, file=sys.stderr)
sys.exit(bool(problems))
