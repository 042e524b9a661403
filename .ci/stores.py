#!/usr/bin/env python3
"""Runs the tests of logs in object stores against servers: moto for S3, fake-gcs-server for GCS.

usage: stores.py [s3|gcs]
Both servers come from package registries and are kept in target/stores.
"""
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "stores"
MOTO, GCS = "moto[s3,server]==5.2.5", "github.com/fsouza/fake-gcs-server@v1.56.1"


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


def fake_gcs(port):
    program = KEPT / "bin/fake-gcs-server"
    if not program.exists():
        subprocess.run(["go", "install", GCS], check=True, env=os.environ | {"GOBIN": str(KEPT / "bin"), "GOFLAGS": "-mod=mod"})
    arguments = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory", "-public-host", f"127.0.0.1:{port}"]
    server = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return server, "POST", "/storage/v1/b?project=p", b'{"name":"logs"}'


SERVERS = {"s3": (moto, "MAINTNER_TEST_S3", "a_log_in_s3"), "gcs": (fake_gcs, "MAINTNER_TEST_GCS", "a_log_in_google")}


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
    started, env, tests = [], dict(os.environ), []
    KEPT.mkdir(parents=True, exist_ok=True)
    try:
        for name in names or SERVERS:
            start, variable, test = SERVERS[name]
            port = free_port()
            server, method, path, body = start(port)
            started.append(server)
            env[variable] = f"http://127.0.0.1:{port}"
            make_bucket(env[variable] + path, method, body)
            tests.append(test)
        command = ["cargo", "test", "-p", "maintner-core", "--test", "it", "--", "--ignored", *tests]
        return subprocess.run(command, cwd=ROOT, env=env).returncode
    finally:
        for server in started:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in SERVERS]
    if unknown:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
