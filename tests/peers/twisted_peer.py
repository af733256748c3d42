#!/usr/bin/env python3
"""A Twisted end with every habit that the tests want to meet. Frames are read and written by Int32StringReceiver.

Whoever wants a recipe reads docs/twisted.md; erlang_peer.escript beside this speaks the same command line.

  serve MANNER...   prints "listening on HOST:PORT", then a line for each event; ends when its standard input does
      echo              answers every frame with itself
      limit BYTES       echo with MAX_LENGTH = BYTES
      careless          echo as most people write it: MAX_LENGTH as it is, and the peer's end drops what is unsent
      dribble SEED      echo, each reply written in pieces of 1 to 13 bytes
      bytes SEED        no frames: sends back the bytes that come, cut anew at random, sometimes one by one
      push COUNT SEED LARGEST   sends frames that nobody asked for, then the end
      sink              answers nothing; at the end says how many frames came, how many bytes, and their MD5
      late COUNT MS     takes COUNT frames, looks for the peer's end so long, and answers only if it has not come
      patient COUNT     takes COUNT frames, waits for the peer's end, and only then answers
      first COUNT       answers COUNT frames, then closes without reading further
      close             closes at once, without reading
      swapped|dropped|reordered|altered    echo, with that fault
  call PORT COUNT SEED LARGEST one|pipelined|dribble      calls an echo, compares; "ok COUNT", or "FAILED ..." and exit 1
  connections PORT COUNT      that many connections at once, two calls on each
  ask PORT LIMIT SIZE...      calls with SIZE bytes each, MAX_LENGTH = LIMIT; prints what the protocol is told
  overstep PORT COUNT SIZE TOO_LONG   sends COUNT frames of SIZE bytes and one of TOO_LONG, and only then reads
  hear PORT LIMIT             prints what the protocol is told until the connection is lost
"""

import hashlib
import random
import struct
import sys
from collections import deque

from twisted.internet import protocol, reactor, stdio
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols.basic import Int32StringReceiver
from zope.interface import implementer

PATIENCE_S = 60
MOST = 2**31 - 1


def say(*words):
    print(*words, flush=True)


def reason_name(reason):
    return reason.type.__name__


def payloads(count, seed, largest):
    """Every size where something might break, as long as count and largest allow; then any, small ones as often as large."""
    draw = random.Random(seed)
    edges = [0, 1, 2, 3, 4, 5, 0, 0, 63, 255, 256, 257, 4091, 4092, 4096, 65531, 65532, 65533, 65535, 65536, 65537]
    edges += [99999, 3 << 20, (5 << 20) + 1]
    sizes = [n for n in edges if n <= largest]
    sizes += [min(largest, draw.randrange(1 << draw.randrange(17))) for _ in range(count)]
    return [draw.randbytes(n) for n in sizes[:count]]


def pieces(data, most, count, draw):
    """Pieces of 1 to `most` bytes, at most `count`; then the rest."""
    at = 0
    while at < len(data) and count > 0:
        n = draw.randint(1, most)
        yield data[at : at + n]
        at += n
        count -= 1
    if at < len(data):
        yield data[at:]


class Frames(Int32StringReceiver):
    MAX_LENGTH = MOST

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def lengthLimitExceeded(self, length):
        say("lengthLimitExceeded", length)
        super().lengthLimitExceeded(length)

    def connectionLost(self, reason):
        say("lost", reason_name(reason))


class Dribbler:
    """Writes one piece a turn of the reactor: Twisted would put together what is written in one turn."""

    def __init__(self, transport, seed):
        self.transport, self.draw, self.waiting = transport, random.Random(seed), deque()

    def write(self, data, most, count):
        running = bool(self.waiting)
        self.waiting.extend(pieces(data, most, count, self.draw))
        if self.waiting and not running:
            self._turn()

    def _turn(self):
        self.transport.write(self.waiting[0])
        reactor.callLater(0, self._next)

    def _next(self):
        self.waiting.popleft()
        if self.waiting:
            self._turn()
        elif self.ending:
            self.transport.loseConnection()

    ending = False

    def end(self):
        """Closes when all is written."""
        self.ending = True
        if not self.waiting:
            self.transport.loseConnection()


# ---- serving ----


@implementer(IHalfCloseableProtocol)
class Server(Frames):
    def __init__(self, arguments):
        self.arguments = [int(a) for a in arguments]
        self.n, self.bytes, self.sum = 0, 0, b""

    def count(self, string):
        self.n += 1
        self.bytes += len(string)
        self.sum = hashlib.md5(self.sum + string).digest()

    def summary(self):
        return f"{self.n} frames, {self.bytes} bytes, {self.sum.hex()}"

    def stringReceived(self, string):
        self.sendString(string)

    def readConnectionLost(self):
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass


class Limit(Server):
    def connectionMade(self):
        super().connectionMade()
        self.MAX_LENGTH = self.arguments[0]


class Careless(Frames):
    MAX_LENGTH = Int32StringReceiver.MAX_LENGTH

    def __init__(self, _):
        pass

    def stringReceived(self, string):
        self.sendString(string)


class Dribble(Server):
    def connectionMade(self):
        super().connectionMade()
        self.dribbler = Dribbler(self.transport, self.arguments[0])

    def stringReceived(self, string):
        self.dribbler.write(struct.pack(">I", len(string)) + string, 13, 300)


    def readConnectionLost(self):
        self.dribbler.end()


class Bytes(Dribble):
    def dataReceived(self, data):
        self.dribbler.write(data, self.dribbler.draw.choice([1, 7, 1500, 70000]), 300)


class Push(Server):
    def connectionMade(self):
        super().connectionMade()
        for payload in payloads(*self.arguments):
            self.count(payload)
            self.sendString(payload)
        say("pushed", self.summary())
        self.transport.loseWriteConnection()

    def stringReceived(self, string):
        pass


class Sink(Server):
    def stringReceived(self, string):
        self.count(string)

    def readConnectionLost(self):
        say("took", self.summary())
        super().readConnectionLost()


class Late(Frames):
    def __init__(self, arguments):
        self.count, self.wait_s = int(arguments[0]), int(arguments[1]) / 1000
        self.kept, self.answered = [], False

    def stringReceived(self, string):
        self.kept.append(string)
        if len(self.kept) == self.count:
            reactor.callLater(self.wait_s, self.answer)

    def answer(self):
        if self.transport.connected:
            self.answered = True
            for string in self.kept:
                self.sendString(string)
            say("answered", self.count)

    def connectionLost(self, reason):
        say("lost" if self.answered else "the end came first:", reason_name(reason))


class Patient(Server):
    def __init__(self, arguments):
        super().__init__(arguments)
        self.kept = []

    def stringReceived(self, string):
        self.kept.append(string)

    def readConnectionLost(self):
        if len(self.kept) == self.arguments[0]:
            for string in self.kept:
                self.sendString(string)
        super().readConnectionLost()


class First(Server):
    def stringReceived(self, string):
        if self.n < self.arguments[0]:
            self.sendString(string)
        self.n += 1
        if self.n >= self.arguments[0]:
            self.transport.pauseProducing()
            self.transport.loseConnection()


class Close(Server):
    def connectionMade(self):
        self.transport.pauseProducing()
        self.transport.loseConnection()


class Swapped(Server):
    def stringReceived(self, string):
        self.transport.write(struct.pack("<I", len(string)) + string)


class Altered(Server):
    def stringReceived(self, string):
        self.sendString(bytes([string[0] ^ 1]) + string[1:] if string else b"\0")


class Dropped(Server):
    def stringReceived(self, string):
        self.n += 1
        if self.n != 2:
            self.sendString(string)


class Reordered(Server):
    def stringReceived(self, string):
        self.n += 1
        if self.n == 1:
            self.kept = string
            return
        self.sendString(string)
        if self.n == 2:
            self.sendString(self.kept)


MANNERS = {"echo": Server, "limit": Limit, "careless": Careless, "dribble": Dribble, "bytes": Bytes, "push": Push, "sink": Sink}
MANNERS |= {"late": Late, "first": First, "close": Close, "swapped": Swapped, "altered": Altered, "dropped": Dropped}
MANNERS |= {"reordered": Reordered, "patient": Patient}


class EndOfInput(protocol.Protocol):
    def connectionLost(self, reason=protocol.connectionDone):
        if reactor.running:
            reactor.stop()


def serve(manner, *arguments):
    factory = protocol.Factory.forProtocol(lambda: MANNERS[manner](arguments))
    port = reactor.listenTCP(0, factory, interface="127.0.0.1", backlog=1024)
    say(f"listening on 127.0.0.1:{port.getHost().port}")
    stdio.StandardIO(EndOfInput())
    reactor.run()


# ---- calling ----

failures = []


def over(failure=None):
    if failure:
        failures.append(failure)
    if reactor.running:
        reactor.stop()


@implementer(IHalfCloseableProtocol)
class Caller(Frames):
    """Calls with each payload, compares the replies, half-closes after the last and wants nothing but the end."""

    def __init__(self, wanted, how, done):
        self.wanted, self.how, self.done = wanted, how, done
        self.next = 0

    def connectionMade(self):
        super().connectionMade()
        self.dribbler = Dribbler(self.transport, 1)
        for payload in self.wanted if self.how == "pipelined" else self.wanted[:1]:
            self.call(payload)
        if not self.wanted:
            self.transport.loseWriteConnection()

    def call(self, payload):
        if self.how == "dribble":
            self.dribbler.write(struct.pack(">I", len(payload)) + payload, 13, 300)
        else:
            self.sendString(payload)

    def stringReceived(self, string):
        if self.next == len(self.wanted) or string != self.wanted[self.next]:
            self.finish(f"reply {self.next + 1} of {len(self.wanted)}: {string[:20]!r}")
            return
        self.next += 1
        if self.next == len(self.wanted):
            self.transport.loseWriteConnection()
        elif self.how != "pipelined":
            self.call(self.wanted[self.next])

    def readConnectionLost(self):
        self.finish(None if self.next == len(self.wanted) else f"the end after {self.next} replies of {len(self.wanted)}")

    def writeConnectionLost(self):
        pass

    def connectionLost(self, reason):
        self.finish(f"{reason_name(reason)} after {self.next} replies of {len(self.wanted)}")

    def finish(self, failure):
        if self.done:
            done, self.done = self.done, None
            self.transport.loseConnection()
            done(failure)


def connect(port, make):
    factory = protocol.ClientFactory()
    factory.protocol = make
    factory.noisy = False
    factory.clientConnectionFailed = lambda _, reason: over(f"not connected: {reason_name(reason)}")
    reactor.connectTCP("127.0.0.1", int(port), factory)


def run(said):
    reactor.callLater(PATIENCE_S, over, "no end in time")
    reactor.run()
    if failures:
        say("FAILED", failures[0])
        return 1
    if said:
        say(said)
    return 0


def call(port, count, seed, largest, how):
    wanted = payloads(int(count), int(seed), int(largest))
    connect(port, lambda: Caller(wanted, how, over))
    return run(f"ok {len(wanted)}")


def connections(port, count):
    """Nobody calls before all are connected."""
    callers, finished = [], []

    class Waiting(Caller):
        def connectionMade(self):
            callers.append(self)
            if len(callers) == int(count):
                for caller in callers:
                    Caller.connectionMade(caller)

    def done(failure):
        finished.append(failure)
        if failure or len(finished) == int(count):
            over(failure)

    for payload in payloads(int(count), 1, 2000):
        connect(port, lambda payload=payload: Waiting([payload, payload], "pipelined", done))
    return run(f"ok {count}")


class Asker(Frames):
    def __init__(self, limit, sizes):
        self.MAX_LENGTH, self.sizes = int(limit), [int(size) for size in sizes]

    def connectionMade(self):
        super().connectionMade()
        self.ask()

    def ask(self):
        if self.sizes:
            self.sendString(b"x" * self.sizes.pop(0))
        elif self.asks:
            self.transport.loseConnection()

    asks = True

    def stringReceived(self, string):
        say("received", repr(string) if len(string) <= 40 else len(string))
        self.ask()

    def connectionLost(self, reason):
        super().connectionLost(reason)
        over()


class Hearer(Asker):
    asks = False


class Overstepper(Frames):
    def __init__(self, count, size, too_long):
        self.sizes, self.replies = [int(size)] * int(count) + [int(too_long)], 0

    def connectionMade(self):
        super().connectionMade()
        self.transport.pauseProducing()
        for size in self.sizes:
            self.sendString(b"x" * size)
        self.transport.registerProducer(self, False)

    def resumeProducing(self):  # all is written
        self.transport.unregisterProducer()
        self.transport.resumeProducing()

    def stopProducing(self):
        pass

    def stringReceived(self, string):
        self.replies += len(string) == self.sizes[0]

    def connectionLost(self, reason):
        say(f"{self.replies} replies, then {reason_name(reason)}")
        over()


def overstep(port, *arguments):
    connect(port, lambda: Overstepper(*arguments))
    return run("")


def ask(port, limit, *sizes):
    connect(port, lambda: Asker(limit, sizes))
    return run("")


def hear(port, limit):
    connect(port, lambda: Hearer(limit, []))
    return run("")


if __name__ == "__main__":
    commands = {"serve": serve, "call": call, "connections": connections, "ask": ask, "hear": hear}
    commands["overstep"] = overstep
    sys.exit(commands[sys.argv[1]](*sys.argv[2:]))
