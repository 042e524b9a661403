#!/usr/bin/env python3
"""Tries the generated client of `examples/typescript` against a farm that has just begun.

    .ci/typescript.py FARMER
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples/typescript"
NAME = ["-c", "user.name=ci", "-c", "user.email=ci@localhost"]


def run(*command, **more):
    subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL, timeout=240, **more)


def client(place):
    """The example with its types made anew; tells the compiled program."""
    own = place / "examples/typescript"
    shutil.copytree(EXAMPLE, own, ignore=shutil.ignore_patterns("node_modules", "dist", "schema.d.ts"))
    (place / "docs").mkdir()
    shutil.copy(ROOT / "docs/openapi.json", place / "docs")
    run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=own)
    run("npm", "run", "--silent", "generate", cwd=own)
    run("npm", "run", "--silent", "build", cwd=own)
    return own / "dist/ask.js"


def repository(place):
    place.mkdir()
    (place / "Makefile").write_text("test:\n\t@echo it works\n")
    run("git", "init", "-q", "-b", "main", place)
    run("git", "-C", place, "add", "-A")
    run("git", "-C", place, *NAME, "commit", "-qm", "first")
    return place


def main(farmer):
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        program = client(place)
        project, data = repository(place / "project"), place / "data"
        command = [farmer, "up", "--port", "0", "--machines", "1", project]
        env = os.environ | {"FARMER_DATA": str(data)}
        farm = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            address = farm.stdout.readline().strip()
            if not address.startswith("http"):
                sys.exit(f"the farm says no address but {address!r}")
            token = (data / "token").read_text().strip()
            run("node", program, address, project, env=os.environ | {"FARMER_TOKEN": token})
        finally:
            farm.send_signal(signal.SIGINT)
            try:
                farm.wait(timeout=30)
            except subprocess.TimeoutExpired:
                farm.kill()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve())
