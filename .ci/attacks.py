#!/usr/bin/env python3
"""Attacks the port of a farm and measures what its owner feels of it.

    .ci/attacks.py FARMER [SECONDS]

Starts a farm of its own with some builds, asks for its front page over and over for SECONDS (default
10) without an attack, then during each of some attacks from the same machine, and tells the times of
the pages and the farm's memory before, during and a minute after. Fails when a page is not served, when
the slowest of a hundred takes more than twice as long as without an attack (but 20 ms at least, which
nobody sees), or when memory does not come back within a tenth (or 8 MB).
"""
import contextlib
import http.client
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SILENT = 1_024
STREAMS = 8  # connections with streams that stall
FLOOR_MS, FLOOR_BYTES = 20, 8 << 20
AFTER = 60
NAME = ["-c", "user.name=ci", "-c", "user.email=ci@localhost"]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


class Farm:
    def __init__(self, farmer, place):
        project = place / "project"
        project.mkdir()
        (project / "Makefile").write_text("test:\n\t@seq 100\n")
        git = ["git", "-C", str(project)]
        subprocess.run(["git", "init", "-q", "-b", "main", str(project)], check=True)
        for number in range(20):
            (project / "number").write_text(str(number))
            subprocess.run([*git, "add", "-A"], check=True)
            subprocess.run([*git, *NAME, "commit", "-qm", f"number {number}"], check=True)
        env = os.environ | {"FARMER_DATA": str(place / "data")}
        command = [farmer, "up", "--port", "0", "--machines", "1", str(project)]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = self.process.stdout.readline().strip()
        if not self.address.startswith("http"):
            sys.exit(f"the farm says no address but {self.address!r}")
        self.port = int(self.address.rsplit(":", 1)[1])
        self.token = (place / "data/token").read_text().strip()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def memory(self):
        """Resident bytes of the coordinator."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))

    def page(self):
        """Milliseconds that the front page took, a connection of its own included."""
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            raise OSError(f"the front page was answered with {answer.status}")
        return (time.perf_counter() - begin) * 1_000

    def pages(self, seconds):
        """The slowest of a hundred pages, in milliseconds, how many there were, and the first trouble."""
        took, end, trouble = [], time.monotonic() + seconds, None
        while time.monotonic() < end:
            try:
                took.append(self.page())
            except (OSError, http.client.HTTPException) as error:
                trouble = trouble or repr(error)
                time.sleep(0.01)
        took.sort()
        return (took[len(took) * 99 // 100] if took else float("inf")), len(took), trouble

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=30)
        self.process.kill()


def hold(farm, count, first, stop):
    """So many connections that say `first` and nothing more; a new one for each that ends."""
    held = []
    while not stop.is_set():
        if len(held) < count:
            with contextlib.suppress(OSError):
                connection = farm.connect()
                connection.sendall(first)
                connection.setblocking(False)
                held.append(connection)
            continue
        for connection in list(held):
            with contextlib.suppress(BlockingIOError):
                try:
                    ended = not connection.recv(65536)
                except BlockingIOError:
                    raise
                except OSError:
                    ended = True
                if ended:
                    connection.close()
                    held.remove(connection)
        time.sleep(0.05)
    for connection in held:
        connection.close()


def headers(stream, path):
    """A request in HTTP/2, by names of its static table alone, without an end of what it asks for."""
    block = b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x09localhost"
    return len(block).to_bytes(3, "big") + b"\x01\x05" + stream.to_bytes(4, "big") + block


def stalled(farm):
    """Streams of events whose answers nobody reads: a window of nothing."""
    no_window = b"\0\0\6\4\0\0\0\0\0" + b"\0\4\0\0\0\0"
    return PREFACE + no_window + b"".join(headers(number, b"/api/v1/events") for number in range(1, 400, 2))


def attacks(farm):
    events = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {farm.token}\r\n\r\n"
    return {
        f"{SILENT} silent connections": (SILENT, b""),
        f"{SILENT} with one byte": (SILENT, b"G"),
        f"{SILENT} with half a preface": (SILENT, PREFACE[:12]),
        f"{SILENT} with half a head": (SILENT, b"GET / HTTP/1.1\r\nHost: local"),
        f"{SILENT} idle streams of events": (SILENT, events.encode()),
        f"{STREAMS} connections of 200 stalled streams": (STREAMS, stalled(farm)),
    }


def attack(farm, seconds, count, first):
    stop = threading.Event()
    attacker = threading.Thread(target=hold, args=(farm, count, first, stop))
    attacker.start()
    time.sleep(2)
    measured = farm.pages(seconds)
    during = farm.memory()
    stop.set()
    attacker.join()
    return measured, during


def main(farmer, seconds):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))
    failed = []
    with tempfile.TemporaryDirectory() as name:
        farm = Farm(farmer, pathlib.Path(name))
        try:
            farm.pages(3)
            idle, count, trouble = farm.pages(seconds)
            if trouble:
                sys.exit(f"no page without an attack: {trouble}")
            bound = max(2 * idle, FLOOR_MS)
            print(f"attacks: p99 of a page {idle:.1f} ms of {count} without an attack, {farm.memory() >> 20} MB", flush=True)
            for what, (connections, first) in attacks(farm).items():
                before = farm.memory()
                (slow, count, trouble), during = attack(farm, seconds, connections, first)
                end = time.monotonic() + AFTER
                allowed = max(before * 11 // 10, before + FLOOR_BYTES)
                while (after := farm.memory()) > allowed and time.monotonic() < end:
                    time.sleep(1)
                good = not trouble and slow <= bound and after <= allowed
                print(
                    f"attacks: {what}: p99 {slow:.1f} ms of {count}, memory {before >> 20}, {during >> 20}, "
                    f"then {after >> 20} MB: {'held' if good else trouble or 'NOT HELD'}",
                    flush=True,
                )
                if not good:
                    failed.append(what)
        finally:
            farm.stop()
    if failed:
        sys.exit(f"attacks: not held: {'; '.join(failed)}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(str(pathlib.Path(sys.argv[1]).resolve()), int(sys.argv[2]) if len(sys.argv) == 3 else 10)
