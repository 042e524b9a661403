#!/usr/bin/env python3
"""Runs the tests of logs and of large contents in object stores against servers: moto for S3, fake-gcs-server for GCS; and those
against the Go project's newest maintnerd, which keeps its log in such a store.

The same store is what the Go project's gomote server of later years hands files over by: our gomote at it.

usage: stores.py [s3|blobs|gcs|go|gomote]
Servers and program come from package registries and are kept in target/stores.
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "stores"
MOTO, GCS = "moto[s3,server]==5.2.5", "github.com/fsouza/fake-gcs-server@v1.56.1"
BUILD = "v0.0.0-20260918145456-c0ee0fbd16a3"
MAINTNERD = f"golang.org/x/build/cmd/maintnerd@{BUILD}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def moto(port):
    program = KEPT / "moto/bin/moto_server"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", KEPT / "moto"], check=True)
        subprocess.run([KEPT / "moto/bin/pip", "install", "--quiet", "--disable-pip-version-check", MOTO], check=True)
    server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return server, "PUT", "/logs", b""


def go_program(name, package):
    program = KEPT / "bin" / name
    if not program.exists():
        subprocess.run(["go", "install", package], check=True, env=os.environ | {"GOBIN": str(KEPT / "bin"), "GOFLAGS": "-mod=mod"})
    return program


def gomote_server():
    """The service of cmd/gomoteserver: a test of the package that holds it, for no other package may use it."""
    program = KEPT / "bin/gomote-server"
    source = ROOT / "bins/tools/tests/gomote_server/farmer_peer_test.go"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        told = subprocess.run(["go", "mod", "download", "-json", f"golang.org/x/build@{BUILD}"], check=True, capture_output=True)
        copy = KEPT / "build"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(json.loads(told.stdout)["Dir"], copy)
        subprocess.run(["chmod", "-R", "u+w", copy], check=True)
        shutil.copy(source, copy / "internal/gomote")
        subprocess.run(["go", "test", "-c", "-o", program, "./internal/gomote"], cwd=copy, check=True, env=os.environ | {"GOFLAGS": "-mod=mod"})
        shutil.rmtree(copy)
    return program


def fake_gcs(port):
    program = go_program("fake-gcs-server", GCS)
    arguments = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory", "-public-host", f"127.0.0.1:{port}"]
    server = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return server, "POST", "/storage/v1/b?project=p", b'{"name":"logs"}'


TOOLS = ["-p", "farmer-tools", "--test", "it"]
CORE, CORPUS = ["-p", "maintner-core", "--test", "it"], ["-p", "farmer-corpus", "--features", "cloud", "--test", "it"]
FARM = ["-p", "build-server", "--features", "store-cloud", "--lib"]
SERVERS = {
    "s3": (moto, "MAINTNER_TEST_S3", "a_log_in_s3", CORE),
    "blobs": (moto, "FARMER_TEST_S3", "machines_fetch_from_s3", FARM),
    "gcs": (fake_gcs, "MAINTNER_TEST_GCS", "a_log_in_google", CORE),
    "go": (fake_gcs, "MAINTNER_TEST_GCS", "go_newest", CORPUS),
    "gomote": (fake_gcs, "MAINTNER_TEST_GCS", "gomote_later", TOOLS),
}


def make_bucket(url, method, body):
    """Makes the bucket as soon as the server answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            request = urllib.request.Request(url, data=body, method=method, headers={"content-type": "application/json"})
            urllib.request.urlopen(request, timeout=5).close()
            return
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def main(names):
    started, env, failed = [], dict(os.environ), 0
    KEPT.mkdir(parents=True, exist_ok=True)
    try:
        for name in names or SERVERS:
            start, variable, test, package = SERVERS[name]
            if name == "go":
                env["MAINTNER_TEST_GO_MAINTNERD"] = str(go_program("maintnerd", MAINTNERD))
            if name == "gomote":
                env["FARMER_TEST_GOMOTE_SERVER"] = str(gomote_server())
            port = free_port()
            server, method, path, body = start(port)
            started.append(server)
            env[variable] = f"http://127.0.0.1:{port}"
            make_bucket(env[variable] + path, method, body)
            command = ["cargo", "test", *package, "--", "--ignored", test]
            failed |= subprocess.run(command, cwd=ROOT, env=env).returncode
        return failed
    finally:
        for server in started:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in SERVERS]
    if unknown:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
