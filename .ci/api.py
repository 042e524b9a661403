#!/usr/bin/env python3
"""Keeps the code in docs/api.md and docs/embedding.md equal to the source.

Below each line `<!-- FILE NAME -->` stands a code block with the public trait (or the public
functions of the type) NAME of FILE; below `<!-- quote FILE: BEGINNING -->` the item of FILE that
begins so, whole. Without arguments: fail when one differs. --write: update.
"""
import re
import sys
import textwrap

PAGES = ["docs/api.md", "docs/embedding.md"]


def bare(source):
    """The source without comments and attributes."""
    lines = []
    depth = 0
    for line in source.splitlines():
        text = line.strip()
        if text.startswith("//"):
            continue
        if depth or text.startswith("#["):
            depth += text.count("[") - text.count("]")
            continue
        lines.append(line)
    return "\n".join(lines)


def block(source, start):
    """The text from `start` to the brace that closes the first one after it."""
    depth, at = 0, source.index("{", start)
    while True:
        depth += {"{": 1, "}": -1}.get(source[at], 0)
        at += 1
        if depth == 0:
            return source[start:at]


def without_bodies(text):
    """Function bodies replaced by `;`."""
    out, at = [], 0
    head = re.compile(r"\bfn \w+[^;{]*?\{", re.S)
    while match := head.search(text, at):
        brace = match.end() - 1
        out.append(text[at:brace].rstrip() + ";")
        at = brace + len(block(text, brace))
    return "".join(out) + text[at:]


def signatures(path, name):
    source = bare(open(path).read())
    if match := re.search(rf"^pub trait {name}\b", source, re.M):
        text = without_bodies(block(source, match.start()).replace("{", "\0", 1)).replace("\0", "{", 1)
    else:
        parts = []
        for match in re.finditer(rf"^impl(?:<[^>]*>)? {name}(?:<[^>]*>)? \{{", source, re.M):
            inner = without_bodies(block(source, match.start())[match.end() - match.start():-1])
            parts += re.findall(r"^    pub (?:const |async )*fn [^;]*;", inner, re.M | re.S)
        if not parts:
            sys.exit(f"no public trait or functions called {name} in {path}")
        text = f"impl {name} {{\n" + "\n".join(parts) + "\n}"
    return re.sub(r"\n\s*\n+", "\n", text)


def quoted(path, beginning):
    source = open(path).read()
    found = re.search(r"^ *" + re.escape(beginning), source, re.M)
    if not found:
        sys.exit(f"nothing in {path} begins with {beginning!r}")
    return textwrap.dedent(block(source, found.start()))


for name in PAGES:
    page = open(name).read()
    written = re.sub(
        r"(<!-- (\S+) (\w+) -->\n```rust\n).*?(```)",
        lambda m: m[1] + signatures(m[2], m[3]) + "\n" + m[4],
        page,
        flags=re.S,
    )
    written = re.sub(
        r"(<!-- quote (\S+): (.*?) -->\n```rust\n).*?(```)",
        lambda m: m[1] + quoted(m[2], m[3]) + "\n" + m[4],
        written,
        flags=re.S,
    )
    if "--write" in sys.argv:
        open(name, "w").write(written)
    elif written != page:
        sys.exit(f"{name} differs from the source: run .ci/api.py --write and read the difference")
    print(f"{name}: {len(re.findall('<!-- .* -->', page))} pieces agree with the source")
