#!/usr/bin/env python3
"""A newcomer's first minutes with one binary, clocked.

    .ci/first_minute.py FARMER

Copies the binary FARMER into an empty home and does there what a newcomer does, as somebody without
rights (when started as root) and in a network that has nothing but loopback (where the system allows
that). Prints a table of what was seen and how long it took, and fails when something is beyond its
bound. The bounds are those of a slow, busy machine; the goals stand beside them.
"""

import contextlib
import datetime
import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

RECIPE = '[[step]]\nname = "build"\nrun = "echo the first line; sh test.sh"\n'
PASSES = "echo test a_tree_grows ... ok\n"
FAILS = "echo test a_tree_grows ... FAILED\nexit 1\n"
NOBODY = "nobody"
# Environment of somebody who has logged in just now.
PATH = "/usr/local/bin:/usr/bin:/bin"
WAIT = 120
# A proxy of this machine has nothing to do with it.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Check:
    """What was found, line by line."""

    def __init__(self):
        self.lines, self.failed = [], []

    def say(self, number, what, seen, goal, bound=None, value=None):
        good = value is None or value <= bound
        self.lines.append((number, what, seen, goal, "ok" if good else f"BEYOND {bound}"))
        if not good:
            self.failed.append(what)

    def must(self, number, what, holds, seen):
        self.lines.append((number, what, seen, "must", "ok" if holds else "NOT SO"))
        if not holds:
            self.failed.append(what)

    def table(self):
        widths = [max(len(str(line[n])) for line in self.lines) for n in range(5)]
        for line in self.lines:
            print("  ".join(str(part).ljust(width) for part, width in zip(line, widths)).rstrip())


def demote():
    """Somebody without rights: no root, no groups."""
    user = pwd.getpwnam(NOBODY)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


class Newcomer:
    """Somebody with an empty home, the binary in it, and a git repository."""

    def __init__(self, farmer, home):
        self.home, self.repo = home, home / "project"
        self.farmer = home / "bin" / "farmer"
        self.farmer.parent.mkdir()
        shutil.copy(farmer, self.farmer)
        self.farmer.chmod(0o755)
        self.env = {"HOME": str(home), "PATH": PATH, "NO_COLOR": "1", "LANG": "C.UTF-8"}
        self.lowers_rights = os.getuid() == 0
        if self.lowers_rights:
            for place in [home, self.farmer.parent, self.farmer]:
                shutil.chown(place, NOBODY)

    def start(self, *command, **more):
        return subprocess.Popen(
            command,
            cwd=more.pop("cwd", self.repo),
            env=self.env,
            stdin=subprocess.DEVNULL,
            preexec_fn=demote if self.lowers_rights else None,
            start_new_session=True,
            text=True,
            **more,
        )

    def run(self, *command, cwd=None):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.start(*map(str, command), cwd=cwd or self.repo, **pipes)
        out, err = process.communicate(timeout=WAIT)
        return process.returncode, out, err

    def git(self, *args):
        name = ["-c", "user.name=New", "-c", "user.email=new@localhost"]
        code, out, err = self.run("git", *name, *args)
        assert code == 0, f"git {args}: {err}"
        return out.strip()

    def write(self, name, text):
        path = self.repo / name
        path.write_text(text)
        if self.lowers_rights:
            shutil.chown(path, NOBODY)

    def commit(self, subject):
        self.git("add", "-A")
        self.git("commit", "-qm", subject)
        return self.git("rev-parse", "HEAD")

    def builds(self):
        code, out, _ = self.run(self.farmer, "status", "--json")
        return [json.loads(line) for line in out.splitlines()] if code == 0 else []


class Farm:
    """`farmer up`, started the way the README says, but for the port."""

    def __init__(self, who):
        self.who, self.begun = who, time.monotonic()
        self.said = tempfile.TemporaryFile("w+")
        command = [str(who.farmer), "up", "--port", "0"]
        self.process = who.start(*command, stdout=subprocess.PIPE, stderr=self.said)
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://localhost:"), f"{self.address!r}: {self.told()}"
        self.seconds_to_address = time.monotonic() - self.begun

    def told(self):
        self.said.seek(0)
        return self.said.read()

    def get(self, path):
        with OPENER.open(self.address + path, timeout=WAIT) as answer:
            return answer.read().decode()

    def until(self, what, look):
        """Seconds from now until `look` finds something, and what it found."""
        begun = time.monotonic()
        while time.monotonic() - begun < WAIT:
            found = look()
            if found:
                return time.monotonic() - begun, found
            assert self.process.poll() is None, f"it has ended: {self.told()}"
            time.sleep(0.01)
        raise AssertionError(f"no {what} within {WAIT} s: {self.told()}")

    def build(self, commit, state):
        def look():
            rows = json.loads(self.get(f"/api/v1/builds?commit={commit}"))["builds"]
            return next((row for row in rows if row["state"] == state), None)

        return self.until(f"{state} build of {commit}", look)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=WAIT)
        return code, self.told()

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def first_line(check, who, farm, commit):
    def look():
        rows = json.loads(farm.get(f"/api/v1/builds?commit={commit}"))["builds"]
        with contextlib.suppress(urllib.error.HTTPError):
            return rows and "the first line" in farm.get(f"/api/v1/builds/{rows[0]['id']}/log")

    farm.until("first line of a log", look)
    seconds = time.monotonic() - farm.begun
    check.say(1, "start to the address, s", f"{farm.seconds_to_address:.2f}", "-", 60, farm.seconds_to_address)
    check.say(1, "start to the first line of a log, s", f"{seconds:.2f}", "<= 10", 60, seconds)
    page = farm.get("/")
    check.must(1, "the page shows the commit", "first commit" in page, f"{len(page)} bytes")


def tree(pid):
    """A process and all below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                parents.setdefault(int(stat[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += parents.get(found[-1], [])
    return found


def listening(pids):
    """Addresses on which processes listen, by the kernel's own tables."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(descriptor)))
    found = []
    for table in ["tcp", "tcp6", "udp", "udp6"]:
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            listens = words[3] == "0A" or table.startswith("udp")
            if words[9] in inodes and listens:
                found.append((table, words[1].split(":")[0]))
    return found


# 127.0.0.1 and ::1 as the kernel writes them.
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


def closed_doors(check, farm):
    doors = listening(tree(farm.process.pid))
    open_ones = [door for door in doors if door[1] not in LOOPBACK]
    check.must(2, "listens on loopback alone", doors and not open_ones, f"{len(doors)} sockets")
    refused = 0
    guesses = [None, "admin", "farmer", "password", "farmer:farmer", ""]
    for guess in guesses:
        headers = {"Authorization": f"Bearer {guess}"} if guess is not None else {}
        request = urllib.request.Request(
            farm.address + "/api/v1/builds", data=b"{}", headers=headers, method="POST"
        )
        try:
            OPENER.open(request, timeout=WAIT)
        except urllib.error.HTTPError as error:
            refused += error.code == 401
    check.must(2, "no default password", refused == len(guesses), f"{refused} guesses refused")


def bare(check, who, farm, offline):
    status = Path(f"/proc/{farm.process.pid}/status").read_text()
    user = int(re.search(r"Uid:\s+(\d+)", status)[1])
    check.must(3, "not root", user != 0, f"user {user}")
    check.must(3, "no network but loopback", True, "cut off" if offline else "SKIPPED: not allowed here")
    docker = any(Path(place, "docker").exists() for place in PATH.split(":"))
    check.must(3, "no Docker asked for", True, "there, unused" if docker else "not there")


def breaks_a_test(check, who, farm):
    who.write("test.sh", FAILS)
    commit = who.commit("break the tree")
    begun = time.monotonic()
    _, row = farm.build(commit, "failed")
    shown = time.time()
    ended = datetime.datetime.fromisoformat(row["finished"]).timestamp()
    check.say(9, "commit to verdict, s", f"{time.monotonic() - begun:.2f}", "-", 60, time.monotonic() - begun)
    check.say(9, "end of the test to the verdict shown, s", f"{shown - ended:.2f}", "<= 1", 5, shown - ended)
    code, out, err = who.run(who.farmer, "why", row["id"])
    check.must(9, "why names the step", code == 0 and "build" in out and "exit status 1" in out, out.split("\n")[0])
    code, out, err = who.run(who.farmer, "query", "builds", "state=failed")
    check.must(9, "query finds it", code == 0 and commit in out, f"exit {code}")
    return row


def goes_on(check, who, farm, built):
    who.write("test.sh", "echo begun; sleep 1; " + PASSES)
    commit = who.commit("mend it slowly")
    farm.build(commit, "running")
    before = {row["id"]: row["state"] for row in who.builds()}
    code, told = farm.interrupt()
    check.must(5, "Ctrl-C ends it", code == 0, told.strip().splitlines()[-1][:60])
    left = tree(farm.process.pid)[1:]
    check.must(5, "no process is left", not left, f"{len(left)} processes")
    code, out, _ = who.run(who.farmer, "log", built["id"])
    check.must(5, "logs are read without a farm", code == 0 and "the first line" in out, f"exit {code}")
    again = Farm(who)
    seconds, _ = again.build(commit, "passed")
    after = {row["id"]: row["state"] for row in who.builds()}
    same = {id for id, state in before.items() if after.get(id) in (state, "passed")}
    check.must(5, "nothing is lost", same == set(before), f"{len(before)} builds before, {len(after)} after")
    check.say(5, "interrupted build ends after the next start, s", f"{seconds:.2f}", "-", 60, seconds)
    return again


def cost(pid):
    """Processor seconds of a process, its memory in bytes, and its share of that."""
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(stat[11]) + int(stat[12])
    resident = int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
    share = resident
    # Pages of the program are held once, however many processes run it.
    with contextlib.suppress(OSError):
        share = 1024 * int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
    return ticks / os.sysconf("SC_CLK_TCK"), resident, share


def idle(check, farm):
    time.sleep(1)  # What the last build left to do is done.
    seconds, before = 10, {pid: cost(pid)[0] for pid in tree(farm.process.pid)}
    time.sleep(seconds)
    spent, shares, own = 0, 0, 0
    for pid in tree(farm.process.pid):
        with contextlib.suppress(OSError):
            now, resident, share = cost(pid)
            spent, shares = spent + now - before.get(pid, 0), shares + share
            own = resident if pid == farm.process.pid else own
    percent = 100 * spent / seconds
    check.say(7, "idle memory of the farm, MB", f"{own / 1e6:.1f}", "<= 60", 60, own / 1e6)
    check.say(7, "with the machines it keeps ready, MB", f"{shares / 1e6:.1f}", "-", 150, shares / 1e6)
    check.say(7, f"idle processor over {seconds} s, %", f"{percent:.2f}", "<= 0.2", 1, percent)


def forgets(check, who, farm):
    code, _, err = who.run(who.farmer, "down", "--purge")
    farm.process.wait(timeout=WAIT)
    known = {"project", "bin"}
    left = [str(path.relative_to(who.home)) for path in who.home.rglob("*")]
    left = [path for path in left if path.split("/")[0] not in known]
    files = [path for path in left if not (who.home / path).is_dir()]
    check.must(6, "down --purge leaves no file", code == 0 and not files, ", ".join(files) or "none left")


def story(farmer, offline):
    check = Check()
    base = tempfile.mkdtemp(prefix="first-minute-")
    os.chmod(base, 0o755)
    farm = None
    try:
        home = Path(base, "home")
        home.mkdir()
        who = Newcomer(farmer, home)
        who.run("git", "init", "-q", "-b", "main", who.repo, cwd=home)
        who.write(".farmer.toml", RECIPE)
        who.write("test.sh", PASSES)
        commit = who.commit("first commit")
        recipe = (who.repo / ".farmer.toml").read_bytes()
        farm = Farm(who)
        first_line(check, who, farm, commit)
        closed_doors(check, farm)
        bare(check, who, farm, offline)
        farm.build(commit, "passed")
        built = breaks_a_test(check, who, farm)
        farm = goes_on(check, who, farm, built)
        idle(check, farm)
        forgets(check, who, farm)
        code, out, _ = who.run(who.farmer, "build")
        same = (who.repo / ".farmer.toml").read_bytes() == recipe
        check.must(9, "the same recipe runs without a farm", code == 0 and same and "the first line" in out, f"exit {code}")
        who.run(who.farmer, "down", "--purge")
    finally:
        if farm:
            farm.end()
        shutil.rmtree(base, ignore_errors=True)
    check.table()
    if check.failed:
        sys.exit("not as a newcomer should find it: " + "; ".join(check.failed))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    farmer = Path(sys.argv[1]).resolve()
    if "--offline" in sys.argv:
        loopback_up()
        return story(farmer, offline=True)
    again = ["unshare", "--net", sys.executable, __file__, str(farmer), "--offline"]
    if os.getuid() == 0 and subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0:
        os.execvp(again[0], again)
    print("SKIPPED: the network cannot be cut off here")
    return story(farmer, offline=False)


def loopback_up():
    """`ip link set lo up`, where there may be no `ip`."""
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        flags = fcntl.ioctl(door, get_flags, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", flags)[1] | up
        fcntl.ioctl(door, set_flags, struct.pack("16sh14x", b"lo", flags))


if __name__ == "__main__":
    main()
