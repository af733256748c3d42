"""Too many at once: more connections than descriptors, thousands of peers that stall, peers that never read.

Each rig takes Bounds to hold and whether it is to be short, and returns its figures. Must not know: the insides of the library.
"""

import contextlib
import select
import socket
import time

import rig

IDLE = 256  # bytes that a connection may take that holds none


# ---- no descriptors ----

CROWD, PLACES, RETRY_S = 200, 50, 0.1


def crowd_is_served(crowd):
    """Whoever has a reply goes, until everybody has had his own."""
    waiting = dict(enumerate(crowd))
    limit = time.monotonic() + rig.PATIENCE_S
    while waiting and time.monotonic() < limit:
        ready = select.select(list(waiting.values()), [], [], 1)[0]
        for i in [i for i, sock in waiting.items() if sock in ready]:
            if rig.receive(waiting[i], 4 + 5) != rig.frame(b"%05d" % i):
                return False
            waiting.pop(i).close()
    return not waiting


def come(port, n):
    crowd = [rig.dial(port) for _ in range(n)]
    for i, sock in enumerate(crowd):
        sock.sendall(rig.frame(b"%05d" % i))
    return crowd


def full(bounds, seconds, retries_a_second, *options, limit_descriptors):
    """A server with PLACES places, and more who come: what does it do meanwhile?"""
    server = rig.Serve(*options)
    stays = rig.dial(server.port)
    bounds.hold(rig.is_echoed(stays, b"first"), "a wrong reply")
    at_first = rig.descriptors(server.pid)
    if limit_descriptors:
        rig.limit_descriptors(server.pid, at_first + PLACES)
    began = time.monotonic()
    crowd = come(server.port, CROWD)
    rig.has_descriptors(server, at_first + PLACES, "full")
    counts, passed = rig.count_system_calls(server.pid, seconds, "accept4", "epoll_wait", "poll")
    waits = counts["epoll_wait"] + counts["poll"]
    retries = retries_a_second * passed
    bounds.hold(counts["accept4"] <= retries + 2, f"{options}: {counts['accept4']} accepts in {passed:.1f} s")
    # One for the timer, perhaps one more on its way down the wheel, one for the listener.
    bounds.hold(waits <= 3 * retries + 4, f"{options}: {waits} wake-ups in {passed:.1f} s")
    tried = counts["accept4"] > 0
    bounds.hold(tried == limit_descriptors, f"{options}: {counts['accept4']} accepts: not what is to be tried")
    lines = server.said("accepting failed")
    bounds.hold(lines == limit_descriptors and len(server.lines) == 1 + lines, f"{options}: {server.lines}")
    for i in range(500):
        bounds.hold(rig.is_echoed(stays, b"%d" % i), "a wrong reply while it was full")
    bounds.hold(rig.descriptors(server.pid) == at_first + PLACES, f"{options}: not full any more")
    bounds.hold(crowd_is_served(crowd), f"{options}: not everybody who waited had his reply")
    rig.has_descriptors(server, at_first, "when they have gone")
    said = len(server.lines) - 1
    bounds.hold(said <= 11 * (time.monotonic() - began + 1), f"{options}: {said} lines")
    bounds.hold(rig.is_echoed(stays, b"last"), "a wrong reply at last")
    stays.close()
    rig.drains(server, bounds)
    bounds.hold(server.accounted() >= CROWD + 1, f"{options}: {server.accounted()} ends of {CROWD + 1} connections")
    rates = f"{waits / passed:.0f} wake-ups and {counts['accept4'] / passed:.0f} accepts a second"
    return f"{' '.join(options) or 'epoll'}: {rates}, {lines} line"


def no_descriptors(bounds, short):
    """1. Full, and more connections come: it neither spins nor chatters, and who is there, or waits, loses nothing."""
    seconds = 1 if short else 5
    found = [full(bounds, seconds, 1 / RETRY_S, limit_descriptors=True),
             full(bounds, seconds, 1 / RETRY_S, "--wait", "poll", limit_descriptors=True),
             full(bounds, seconds, 0, "--max-conns", str(1 + PLACES), limit_descriptors=False)]
    if not short:
        found.append(full(bounds, seconds, 1 / RETRY_S, "--workers", "4", limit_descriptors=True))
    return f"{CROWD} on {PLACES} places; " + "; ".join(found)


# ---- who stalls ----

STALLED_S, CLAIM, GIVEN = 10, 1000, 100
# What each has sent when it stalls; the last go on, a byte a second, which must not help them.
STALLS = (b"\0\0", rig.LENGTH.pack(CLAIM) + bytes(GIVEN), rig.LENGTH.pack(CLAIM) + bytes(2))
PATIENT = rig.LENGTH.pack(16 << 20) + bytes(GIVEN)  # time by its length: more than an hour


class Stalled:
    def __init__(self, port, i):
        self.sock = rig.dial(port, source=f"127.0.0.{2 + i % 8}")
        self.sock.setblocking(False)
        self.patient = i % 20 == 19
        self.trickles = not self.patient and i % 3 == 2
        self.sends = PATIENT if self.patient else STALLS[i % 3]

    def stall(self):
        self.since = time.monotonic()
        self.sock.send(self.sends)

    def trickle(self):
        with contextlib.suppress(ConnectionError):
            self.sock.send(b"x")


def await_ends(stalled, bounds):
    """Until all that are to be ended are. How many were, and how many of them too early."""
    poll = select.epoll()
    by_fd = {}
    for s in stalled:
        by_fd[s.sock.fileno()] = s
        poll.register(s.sock, select.EPOLLIN | select.EPOLLRDHUP)
    left = sum(not s.patient for s in stalled)
    ended = early = 0
    next_byte, limit = time.monotonic() + 1, time.monotonic() + STALLED_S + rig.PATIENCE_S
    while ended < left and time.monotonic() < limit:
        for fd, _ in poll.poll(0.2):
            s = by_fd.pop(fd)
            early += time.monotonic() - s.since < STALLED_S - 0.01 or s.patient
            with contextlib.suppress(ConnectionError):
                bounds.hold(s.sock.recv(100) == b"", "somebody who stalls was sent something")
            poll.unregister(fd)
            s.sock.close()
            ended += 1
        if time.monotonic() >= next_byte:
            next_byte = time.monotonic() + 1
            for s in by_fd.values():
                if s.trickles:
                    s.trickle()
    poll.close()
    return ended, early


def slowloris(bounds, short):
    """2. Thousands of peers that stop inside a length or a frame, or send a byte now and then."""
    n = min(2000 if short else 19000, rig.raise_own_descriptors() - 500)
    bounds.hold(short or n >= 15000, f"the limit of descriptors allows {n} peers, not 15,000")
    server = rig.Serve("--max-conns", str(n + 200), "--frame-timeout", f"{STALLED_S}s")
    at_first = rig.descriptors(server.pid)
    rig.serves_on(server, bounds, "before")
    rss = rig.memory_kib(server.pid)
    good = rig.Good(server, bounds)
    stalled = [Stalled(server.port, i) for i in range(n)]
    rig.wait_until(lambda: rig.descriptors(server.pid) >= at_first + n, "all connected")
    for s in stalled:
        s.stall()
    ended, early = await_ends(stalled, bounds)
    patient = [s for s in stalled if s.patient]
    bounds.hold(ended == n - len(patient), f"{ended} of {n - len(patient)} were ended")
    bounds.hold(early == 0, f"{early} were ended too early")
    good.end()
    rig.has_descriptors(server, at_first + len(patient), "the patient ones stay")
    memory = (rig.memory_kib(server.pid, "VmHWM") - rss) * 1024 // n
    bounds.hold(memory <= IDLE + 4096 + 2 * GIVEN, f"{memory} bytes for each who stalls")
    rig.serves_on(server, bounds, "after")
    rig.drains(server, bounds)
    bounds.hold(server.accounted() == n + good.connections + 2, f"{server.accounted()} ends of {n + good.connections + 2}")
    return (f"{n} stalled at once, {ended} ended by the deadline, {early} too early; {memory} bytes each; "
            f"{good.replies} good replies meanwhile")


# ---- who never says who he is ----

# What each has sent of an opening when it stalls: nothing, half a preface, half a length, half a HELLO.
OPENINGS = (b"", b"\xf7F", b"\xf7F\x01\x80\0\0", b"\xf7F\x01\x80" + rig.LENGTH.pack(40) + bytes(20))


class Stranger(Stalled):
    def __init__(self, port, i):
        super().__init__(port, i)
        self.patient = self.trickles = False
        self.sends = OPENINGS[i % len(OPENINGS)]

    def stall(self):
        with contextlib.suppress(ConnectionError):  # one of its address may have come since
            super().stall()


def strangers(bounds, short):
    """2b. Thousands that stop inside an opening, where keys are wanted: who is in, and who comes from elsewhere, notices nothing."""
    ways = rig.ways()
    if "psk" not in ways:
        return "built without libsodium: left out"
    options, mine = ways["psk"]
    n = min(2000 if short else 19000, rig.raise_own_descriptors() - 500)
    server = rig.Serve(*options, "--max-conns", str(n + 200))
    at_first = rig.descriptors(server.pid)
    rig.serves_on(server, bounds, "before", *mine)
    rss = rig.memory_kib(server.pid)
    good = rig.Good(server, bounds, mine=mine)
    came = []
    for i in range(n):
        came.append(Stranger(server.port, i))
        came[-1].stall()
    ended, _ = await_ends(came, bounds)
    bounds.hold(ended == n, f"{ended} of {n} were ended")
    good.end()
    rig.has_descriptors(server, at_first, "when all have gone")
    held = min(n, 8 * 16)  # of one address 16 are there at once
    memory, most = (rig.memory_kib(server.pid, "VmHWM") - rss) * 1024 // held, IDLE + 4096 + rig.OF_THE_PROCESS_KIB * 1024 // held
    bounds.hold(memory <= most, f"{memory} bytes for each stranger that is there, {most} are allowed")
    bounds.hold(server.said("too many at once that have not proven") > 0, "nobody had to make room")
    rig.serves_on(server, bounds, "after", *mine)
    rig.drains(server, bounds)
    bounds.hold(server.accounted() == n + good.connections + 2, f"{server.accounted()} ends of {n + good.connections + 2}")
    return f"{n} strangers of 8 addresses, all ended, {held} at once; {memory} bytes for each of these; {good.replies} good replies meanwhile"


# ---- who never reads ----

SEND_S = 5


class Deaf:
    """Sends requests and reads no reply."""

    def __init__(self, port, frame):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.since = time.monotonic()
        self._frame = frame
        self._at = self.sent = 0

    def go_on(self):
        """Sends what fits. False: the connection is over."""
        try:
            n = self.sock.send(self._frame[self._at :])
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._at = (self._at + n) % len(self._frame)
        self.sent += n
        return True


def deafen(port, n, frame):
    """All send until they are ended: (how many were, how many of them too early, the bytes that were sent)."""
    deaf = [Deaf(port, frame) for _ in range(n)]
    poll = select.epoll()
    by_fd = {}
    for d in deaf:
        by_fd[d.sock.fileno()] = d
        poll.register(d.sock, select.EPOLLOUT)
    early, limit = 0, time.monotonic() + SEND_S + rig.PATIENCE_S
    while by_fd and time.monotonic() < limit:
        for fd, events in poll.poll(0.2):
            if not events & (select.EPOLLHUP | select.EPOLLERR) and by_fd[fd].go_on():
                continue
            poll.unregister(fd)
            gone = by_fd.pop(fd)
            early += time.monotonic() - gone.since < SEND_S - 0.01
            gone.sock.close()
    return n - len(by_fd), early, sum(d.sent for d in deaf)


DEAF = "the peer does not take what is sent"


def deaf_to(bounds, n, size, unsent, *options):
    server = rig.Serve("--send-timeout", f"{SEND_S}s", "--max-conns", str(n + 200), *options)
    at_first = rig.descriptors(server.pid)
    rig.serves_on(server, bounds, "before")
    rss = rig.memory_kib(server.pid)
    good = rig.Good(server, bounds)
    ended, early, sent = deafen(server.port, n, rig.frame(bytes(size)))
    bounds.hold(ended == n and early == 0, f"{ended} of {n} were ended, {early} too early")
    good.end()
    rig.has_descriptors(server, at_first, "when all have gone")
    memory = (rig.memory_kib(server.pid, "VmHWM") - rss) * 1024 // n
    # What waits to be sent, and: the reply that went beyond it, that which has partly been sent, and what the last receive
    # brought, as a frame that is cut (at most twice that, and 4 KiB); a part of what the process has besides.
    most = unsent + 2 * size + 2 * rig.RECEIVE + 4096 + rig.OF_THE_PROCESS_KIB * 1024 // n
    bounds.hold(memory <= most, f"{memory} bytes for each who does not read, {most} are allowed")
    rig.serves_on(server, bounds, "after")
    # Of so many at once other ends may have had the lines of that second: one alone has its own.
    before = server.said(DEAF)
    alone, early, _ = deafen(server.port, 1, rig.frame(bytes(size)))
    bounds.hold(alone == 1 and early == 0, "who is deaf alone was not ended, or too early")
    rig.drains(server, bounds)
    bounds.hold(server.said(DEAF) > before, "nothing was said of who is deaf alone")
    ends = n + good.connections + 3
    bounds.hold(server.accounted() == ends, f"{server.accounted()} ends of {ends}")
    return (f"{n} peers with requests of {size >> 10} KiB, {unsent >> 10} KiB unsent allowed: {sent >> 20} MiB taken, "
            f"{memory >> 10} KiB held for each, {ended} ended by the deadline; {good.replies} good replies")


def never_read(bounds, short):
    """3. Peers that ask and never read: reading stops at the output limit, and the send deadline ends them."""
    rig.raise_own_descriptors()
    found = [deaf_to(bounds, 200 if short else 1000, 16 << 10, 64 << 10, "--max-unsent", "64KiB")]
    if not short:
        found.append(deaf_to(bounds, 100, 256 << 10, 1 << 20))
    return "; ".join(found)
