#!/usr/bin/env python3
"""The four libraries as they would be published: packed without the workspace, with everything
that their sources include, and, once there is a tag, compatible with what was tagged last.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

LIBRARIES = ["build-core", "maintner-core", "build-client", "build-server"]
INCLUDE = re.compile(r"""include(?:_str|_bytes)?!\(\s*"([^"]+)"\s*\)|#!?\[doc = include_str!\(\s*"([^"]+)"\s*\)\]""")

root = pathlib.Path(__file__).resolve().parent.parent
problems = []


def package():
    flags = [flag for name in LIBRARIES for flag in ("--package", name)]
    command = ["cargo", "package", "--quiet", "--no-verify", "--allow-dirty", "--locked", *flags]
    subprocess.run(command, check=True, cwd=root)


def target():
    import json

    metadata = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], check=True, capture_output=True, text=True, cwd=root)
    return pathlib.Path(json.loads(metadata.stdout)["target_directory"])


def check(archive, name):
    """Whatever a source file includes is in the package."""
    with tarfile.open(archive) as packed:
        files = {pathlib.PurePosixPath(*pathlib.PurePosixPath(m.name).parts[1:]): m for m in packed.getmembers()}
        for path, member in files.items():
            if path.suffix != ".rs" or path.parts[0] not in ("src", "build.rs"):
                continue
            # Tests of a file stand at its end, and run where the repository is.
            text = packed.extractfile(member).read().decode().split("#[cfg(test)]")[0]
            for included in INCLUDE.finditer(text):
                wanted = pathlib.PurePosixPath(included[1] or included[2])
                place = []
                for part in (*path.parent.parts, *wanted.parts):
                    if part == "..":
                        place = place[:-1] if place else ["outside"]
                    elif part != ".":
                        place.append(part)
                if pathlib.PurePosixPath(*place) not in files:
                    problems.append(f"{name}: {path} includes {wanted}, which is not in the package")
        size = pathlib.Path(archive).stat().st_size
        print(f"{name}: {len(files)} files, {size} bytes")


def compatible():
    tags = subprocess.run(["git", "tag", "--sort=-creatordate", "--list", "v*"], check=True, capture_output=True, text=True, cwd=root)
    tag = next(iter(tags.stdout.split()), None)
    if tag is None:
        print("nothing was tagged yet: there is no version to be compatible with")
    elif shutil.which("cargo-semver-checks") is None:
        problems.append(f"cargo-semver-checks is not installed, and {tag} is there to compare with")
    else:
        for name in LIBRARIES:
            subprocess.run(["cargo", "semver-checks", "--package", name, "--baseline-rev", tag], check=True, cwd=root)


package()
for name in LIBRARIES:
    (archive,) = (target() / "package").glob(f"{name}-[0-9]*.crate")
    check(archive, name)
compatible()
for problem in problems:
    print("package:", problem, file=sys.stderr)
sys.exit(bool(problems))
