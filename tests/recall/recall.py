#!/usr/bin/env python3
"""
recall.py: plants the bugs beside it, one at a time, and says which test finds each, and after how long.

    tests/recall/recall.py [WORD...]      all, or those with such a word in their name; ends with "N found, N missed"
    tests/recall/recall.py --apply        only that each still applies and compiles
    RIGS="test tool"                      tries only these

Owns: the patches' form, the copies they are applied to, the table of rigs (RIGS), and the words said of each.
Must not know: what any test tests.
Invariants: the tree it is run in is read, never written, but for $BUILD/recall; a bug is found only by a test that passes without
it, in the same build, right afterwards; whatever is started ends, by itself or by its time limit.

A patch is two lines, "Class: ..." and "Bug: ...", an empty line, and a unified diff. A hunk is placed by its text alone, which
must be in the file exactly once: its line numbers may be anything.
"""

import concurrent.futures
import glob
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "tests", "recall")
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
WORK = os.path.join(BUILD, "recall")
BASE = os.path.join(WORK, "base")
LANES = 2
SLOWEST_S = 900  # what no build and no test exceeds, on a machine that does other things, too
HANGS_S = 10  # and eight times what it takes without the bug: a test that runs longer hangs
sys.stdout.reconfigure(line_buffering=True)

SANITIZE = "-O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all "
VARIANTS = {  # how the tree is built: make's variables
    "plain": ["CFLAGS=-O1"],
    "asan": ["CC=gcc", "CFLAGS=" + SANITIZE + "-fsanitize=address,undefined"],
    "tsan": ["CC=gcc", "CFLAGS=" + SANITIZE + "-fsanitize=thread"],
}

# The rigs in the order in which they are tried: name, variant, make's goals, its tests. A test is a file of the tree, after the
# build, and what it is told; within a rig the quickest goes first, as measured without a bug. BUILD and FRAMED are set for it.
RIGS = [
    ("test", "plain", ["tests"], ["build/plain/tests/test_*"]),
    ("asan", "asan", ["tests"], ["build/asan/tests/test_*"]),
    ("tool", "plain", ["all"], ["tests/tool/test_*.py"]),
    ("linear", "plain", [], ["tests/linear.sh"]),
    ("tsan", "tsan", ["tests"], ["build/tsan/tests/test_net*", "build/tsan/tests/test_os*"]),
]
if os.path.exists(os.path.join(ROOT, "tests", "world", "main.c")):
    RIGS.insert(1, ("sim", "plain", ["build/plain/tests/sim"], ["build/plain/tests/sim 1 2000"]))

# The classes of bugs that length-prefixed protocols are known for, by number; each has a bug here, but for these.
CLASSES = range(1, 31)
NOT_HERE = {
    4: "a count times a size wraps: no frame says how many of anything it holds",
    19: "replies to control frames pile up: plain connections have no control frames",
}


class Stale(Exception):
    """A patch that no longer applies or compiles."""


# ---- patches ----

class Bug:
    def __init__(self, path):
        self.name = os.path.basename(path)[: -len(".patch")]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        head = re.match(r"Class: (.+)\nBug: (.+)\n\n(?=--- a/)", text)
        if not head:
            raise Stale("%s: the head is not Class, Bug and an empty line" % self.name)
        self.kind = head[1]
        number = re.match(r"(\d+), ", self.kind)
        self.number = int(number[1]) if number else None  # None: of a class that is not one of the thirty
        self.changes = []  # (path, old, new)
        path = None
        for part in re.split(r"^(?=--- a/|@@ )", text[head.end():], flags=re.M)[1:]:
            lines = part.splitlines(keepends=True)
            if part.startswith("--- "):
                path = lines[1].split()[1][len("b/"):]
                continue
            old = "".join(line[1:] for line in lines[1:] if line[0] in " -")
            new = "".join(line[1:] for line in lines[1:] if line[0] in " +")
            self.changes.append((path, old, new))

    def files(self):
        return sorted({path for path, _, _ in self.changes})

    def apply(self, tree):
        for path, old, new in self.changes:
            full = os.path.join(tree, path)
            try:
                with open(full, encoding="utf-8") as file:
                    text = file.read()
            except FileNotFoundError:
                raise Stale("does not apply: there is no %s any more" % path) from None
            if text.count(old) != 1:
                raise Stale("does not apply: its text is %d times in %s" % (text.count(old), path))
            with open(full, "w", encoding="utf-8") as file:
                file.write(text.replace(old, new))


def all_bugs(wanted):
    found = [Bug(path) for path in sorted(glob.glob(os.path.join(HERE, "*.patch")))]
    without = set(CLASSES) - {bug.number for bug in found}
    if without != set(NOT_HERE):
        raise Stale("the classes without a bug are %s, and should be %s" % (sorted(without), sorted(NOT_HERE)))
    return [bug for bug in found if not wanted or any(word in bug.name for word in wanted)]


# ---- trees ----

def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
    return [name for name in listed.decode().split("\0") if name and os.path.isfile(os.path.join(ROOT, name))]


def make_base():
    """The tracked files as they are now; what did not change keeps what was built of it."""
    names = tracked()
    for folder, _, files in os.walk(BASE):
        for name in files:
            inside = os.path.relpath(os.path.join(folder, name), BASE)
            if not inside.startswith("build/") and inside not in names:
                os.remove(os.path.join(folder, name))
    for name in names:
        source, copy = os.path.join(ROOT, name), os.path.join(BASE, name)
        if os.path.exists(copy) and open(source, "rb").read() == open(copy, "rb").read():
            continue
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy(source, copy)


def mend(tree):
    """Makes the tree what BASE is, what was built included; only what differs is copied, and times with it."""
    os.makedirs(tree, exist_ok=True)
    here, there = looks(tree), looks(BASE)
    for name in here.keys() - there.keys():
        os.remove(os.path.join(tree, name))
    for name, look in there.items():
        if here.get(name) != look:
            copy = os.path.join(tree, name)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copy2(os.path.join(BASE, name), copy, follow_symlinks=False)


def looks(tree):
    found = {}
    for folder, _, files in os.walk(tree):
        for name in files:
            path = os.path.join(folder, name)
            about = os.lstat(path)
            found[os.path.relpath(path, tree)] = (about.st_size, about.st_mtime_ns)
    return found


# ---- running ----

def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limits_of_plain():
    limits()
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # sanitizers want all there is


LIVE = set()  # what runs now, each the leader of a group of its own


def end_all(*_):
    """We are told to end: so is all that we started."""
    for process in list(LIVE):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    os._exit(130)


def start(command, tree, env, before=None):
    process = subprocess.Popen(command, cwd=tree, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=before)
    LIVE.add(process)
    return process


def stop(process):
    """Ends what was started, and all it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    process.stdout.close()
    LIVE.discard(process)


class Red:
    """Watches what a test prints for the first thing that fails."""

    FAILED = re.compile(r"^(?:\[  FAILED  \] ([a-z]\w+)|(test\w+) \(.*\) \.\.\. (?:FAIL|ERROR)|(?:FAIL|ERROR): (test\w+))")
    RUNNING = re.compile(r"^(?:\[ RUN      \] (\w+)|(test\w+) \(.*\) \.\.\. )")
    SANITIZER = re.compile(r"(?:ERROR|WARNING): (\w+Sanitizer: [\w-]+(?: race)?)|: (runtime error: [\w -]+)")

    def __init__(self):
        self.failed = self.running = self.says = self.last = None

    def look(self, line):
        self.last = line.strip() or self.last
        running = self.RUNNING.match(line)
        if running:
            self.running = running[1] or running[2]
        says = self.SANITIZER.search(line)
        if says and self.says is None:
            self.says = says[1] or says[2]
        failed = self.FAILED.match(line)
        if failed and self.failed is None:
            self.failed = next(name for name in failed.groups() if name)
        return self.failed is not None


def run(tree, variant, test, bound):
    """None when the test passes, else what was red. A test that fails is not waited for."""
    env = dict(os.environ, BUILD="build/" + variant, FRAMED="build/%s/framed" % variant, TSAN_OPTIONS="halt_on_error=1",
               ASAN_OPTIONS="detect_stack_use_after_return=1", PYTHONDONTWRITEBYTECODE="1")
    env.pop("MAKEFLAGS", None)
    command = [sys.executable, test, "-v", "-f"] if test.endswith(".py") else ["./" + test.split()[0], *test.split()[1:]]
    process = start(command, tree, env, limits_of_plain if variant == "plain" else limits)
    red, rest, until, hangs = Red(), b"", time.monotonic() + bound, False
    while True:
        ready, _, _ = select.select([process.stdout], [], [], max(0, until - time.monotonic()))
        if not ready:
            hangs = True
            break
        chunk = os.read(process.stdout.fileno(), 1 << 16)
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[-4096:]
        enough = [red.look(line.decode(errors="replace")) for line in lines + ([] if chunk else [rest])]
        if not chunk or any(enough):
            break
    if not hangs and red.failed is None:
        try:
            process.wait(max(1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            hangs = True
    code = process.poll()
    stop(process)
    if code == 0 and red.failed is None and not hangs:
        return None
    name = red.failed or red.running or (red.last or "")[:70]
    how = "hangs" if hangs else red.says or ("" if red.failed else "dies" if code and code < 0 else "status %s" % code)
    return " ".join(word for word in (os.path.basename(test.split()[0]).split(".")[0] + ":", name, "(%s)" % how if how else "") if word)


def make(tree, variant, goals, jobs):
    if not goals:
        return
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD")}
    process = start(["make", "-j%d" % jobs, "BUILD=build/" + variant, *VARIANTS[variant], *goals], tree, env)
    try:
        said = process.communicate(timeout=SLOWEST_S)[0].decode(errors="replace")
    finally:
        stop(process)
    if process.returncode != 0:
        first = next((line for line in said.splitlines() if "error" in line), said[-500:])
        raise Stale("does not compile: " + first)


def tests_of(pattern):
    file, *told = pattern.split()
    found = [path for path in glob.glob(os.path.join(BASE, file)) if os.access(path, os.X_OK) or path.endswith(".py")]
    return [" ".join([os.path.relpath(path, BASE), *told]) for path in found]


class Rig:
    def __init__(self, name, variant, goals, tests):
        self.name, self.variant, self.goals, self.patterns = name, variant, goals, tests
        self.lock = threading.Lock()
        self.seconds = None  # of each test, without a bug

    def ready(self):
        """Builds it and runs it without a bug, the first time that it is needed."""
        with self.lock:
            if self.seconds is not None:
                return
            began = time.monotonic()
            make(BASE, self.variant, self.goals, LANES)
            tests = sorted({test for pattern in self.patterns for test in tests_of(pattern)})
            if not tests:
                raise SystemExit("recall: the rig %s has no tests" % self.name)
            with concurrent.futures.ThreadPoolExecutor(LANES) as lanes:
                measured = list(lanes.map(self.measure, tests))
            self.seconds = dict(zip(tests, measured))
            print("rig     %-28s %d tests pass without a bug (%.0f s)" % (self.name, len(tests), time.monotonic() - began))

    def measure(self, test):
        began = time.monotonic()
        red = run(BASE, self.variant, test, SLOWEST_S)
        if red:
            raise SystemExit("recall: without any bug, %s is red: %s" % (self.name, red))
        return time.monotonic() - began

    def find(self, tree):
        """The first red test, or None."""
        make(tree, self.variant, self.goals, 1)
        for test in sorted(self.seconds, key=self.seconds.get):
            red = run(tree, self.variant, test, HANGS_S + 8 * self.seconds[test])
            if red is None:
                continue
            again = run(BASE, self.variant, test, HANGS_S + 8 * self.seconds[test])
            if again is None:
                return "%s/%s" % (self.name, red)
            print("        %s is red without the bug too: %s" % (test, again))
        return None


def lane_of(lane):
    return os.path.join(WORK, "lane%d" % lane)


def hunt(bug, rigs, lanes):
    """(verdict, what, seconds)"""
    lane = lanes.pop()
    tree = lane_of(lane)
    try:
        seconds = 0
        for rig in rigs:
            rig.ready()
            mend(tree)
            bug.apply(tree)
            began = time.monotonic()
            found = rig.find(tree)
            seconds += time.monotonic() - began
            if found:
                return "found", found, seconds
        return "MISSED", "no rig finds it", seconds
    except Stale as why:
        return "STALE", str(why), 0
    finally:
        lanes.append(lane)


def recall(bugs):
    began = time.monotonic()
    make_base()
    only = os.environ.get("RIGS", "").split()
    rigs = [Rig(*row) for row in RIGS if not only or row[0] in only]
    lanes = list(range(LANES))
    counted = {"found": 0, "MISSED": 0, "STALE": 0}
    times = []

    def one(bug):
        verdict, what, seconds = hunt(bug, rigs, lanes)
        print("%-7s %-28s %-60s %6.1f s\n        class %s" % (verdict, bug.name, what, seconds, bug.kind))
        counted[verdict] += 1
        if verdict == "found":
            times.append(seconds)

    with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
        list(pool.map(one, bugs))
    for lane in range(LANES):
        shutil.rmtree(lane_of(lane), ignore_errors=True)
    print("recall: without a bug of their own: %s" % "; ".join("class %d, %s" % row for row in NOT_HERE.items()))
    median = sorted(times)[len(times) // 2] if times else 0
    print("recall: %d s; the median bug is found after %.1f s" % (time.monotonic() - began, median))
    print("%d found, %d missed%s" % (counted["found"], counted["MISSED"] + counted["STALE"],
                                     " (%d of them no longer apply)" % counted["STALE"] if counted["STALE"] else ""))
    return 0 if bugs and counted["found"] == len(bugs) else 1


# ---- only that they apply and compile ----

def compiles(tree, bug):
    bug.apply(tree)
    for path in bug.files():
        if path.endswith(".h"):
            continue
        done = subprocess.run(["cc", "-std=c11", "-fsyntax-only", "-DFRAMED_SODIUM", "-Iinclude", "-Iproto", "-Isrc", "-Isrc/os", path], cwd=tree,
                              capture_output=True, text=True, timeout=SLOWEST_S, check=False)
        if done.returncode != 0:
            raise Stale("does not compile: " + done.stderr.splitlines()[0])


def apply_all(bugs):
    make_base()
    tree = os.path.join(WORK, "apply")
    stale = 0
    for part in ("include", "proto", "src"):
        shutil.copytree(os.path.join(BASE, part), os.path.join(tree, part), dirs_exist_ok=True)
    for bug in bugs:
        try:
            compiles(tree, bug)
        except Stale as why:
            stale += 1
            print("STALE   %s: %s" % (bug.name, why))
        for path in bug.files():
            if os.path.exists(os.path.join(BASE, path)):
                shutil.copy2(os.path.join(BASE, path), os.path.join(tree, path))
    shutil.rmtree(tree, ignore_errors=True)
    print("recall: %d bugs apply and compile, %d do not" % (len(bugs) - stale, stale))
    return 0 if bugs and stale == 0 else 1


def main(args):
    os.chdir(ROOT)
    os.makedirs(WORK, exist_ok=True)
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, end_all)
    only_apply = args[:1] == ["--apply"]
    try:
        bugs = all_bugs(args[1:] if only_apply else args)
        return apply_all(bugs) if only_apply else recall(bugs)
    except Stale as why:
        print("recall: %s" % why)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
