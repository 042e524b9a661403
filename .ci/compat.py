#!/usr/bin/env python3
"""Checks docs/compatibility.md against what the interop tests have seen, or writes it.

usage: compat.py [--write] DIRECTORY     (one JSON file for each row, written by the tests)
A difference fails, and so do fewer rows than committed: a case that is no longer tried is no
longer compatible.
"""
import json
import pathlib
import sys

PAGE = pathlib.Path("docs/compatibility.md")
HEAD = """# Compatibility

What programs of the Go project and ours were seen to do with each other. Written by the interop
tests (`.ci/run only interop`; `python3 .ci/compat.py --write target/tmp/compat` after them), never by
hand. The version is what `go version -m` says of the peer. A negative control is what was made
wrong on purpose, and what was seen then: it shows that the case could have failed.

| Peer | golang.org/x/build | Direction | Case | Seen | Negative control |
|---|---|---|---|---|---|
"""


def render(rows):
    lines = []
    for row in rows:
        cells = [row["peer"], row["version"], *(row["row"][key] for key in ("direction", "case", "seen", "control"))]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return HEAD + "".join(sorted(lines))


def count(text):
    return sum(line.startswith("| ") for line in text.splitlines()) - 1


write = sys.argv[1] == "--write"
seen = [json.loads(path.read_text()) for path in pathlib.Path(sys.argv[-1]).glob("*.json")]
page = render(seen)
if write:
    PAGE.write_text(page)
committed = PAGE.read_text() if PAGE.exists() else HEAD
print(f"compatibility: {count(page)} rows seen, {count(committed)} committed")
if count(page) < count(committed):
    print("compat: fewer rows than committed", file=sys.stderr)
if page != committed:
    for line in sorted(set(committed.splitlines()) - set(page.splitlines())):
        print(f"compat: committed, not seen: {line}", file=sys.stderr)
    for line in sorted(set(page.splitlines()) - set(committed.splitlines())):
        print(f"compat: seen, not committed: {line}", file=sys.stderr)
    sys.exit(1)
