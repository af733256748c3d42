#!/usr/bin/env python3
"""An echo server and a client with Int32StringReceiver, as the rows of proto/conformance want them. erlang_ends.escript beside
this and subjects.py, which runs them, have the same command line and the same words.

  serve plain|careful LIMIT...   a listener for each limit (MAX_LENGTH; 0: as it is), and for each a line "listening on
                                 HOST:PORT"; careful: IHalfCloseableProtocol; ends when its standard input does
  ask                            a client for each line "ID PORT LIMIT ordered|none|ignored ends|stays PAYLOAD...", payloads in
                                 hex or "-"; says "ID PAYLOAD... WORD": each that came ("SIZE:MD5" of a long one), then how it ended
"""

import hashlib
import sys

from twisted.internet import protocol, reactor, stdio
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols.basic import Int32StringReceiver, LineOnlyReceiver
from zope.interface import implementer

PATIENCE_S = 10


class Plain(Int32StringReceiver):
    """As most people write it."""

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def stringReceived(self, string):
        self.sendString(string)


@implementer(IHalfCloseableProtocol)
class Careful(Plain):
    """As docs/twisted.md has it: who has half-closed is answered still."""

    def readConnectionLost(self):
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass


def serve(manner, *limits):
    for limit in map(int, limits):
        made = {"plain": Plain, "careful": Careful}[manner]
        kind = type("Limited", (made,), {"MAX_LENGTH": limit or Int32StringReceiver.MAX_LENGTH})
        port = reactor.listenTCP(0, protocol.Factory.forProtocol(kind), interface="127.0.0.1", backlog=1024)
        print(f"listening on 127.0.0.1:{port.getHost().port}", flush=True)


def shown(payload):
    if len(payload) <= 64:
        return payload.hex() or "-"
    return f"{len(payload)}:{hashlib.md5(payload).hexdigest()}"


class Client(Int32StringReceiver):
    def __init__(self, name, limit, replies, stays, payloads):
        self.MAX_LENGTH = int(limit) or Int32StringReceiver.MAX_LENGTH
        self.name, self.replies, self.stays = name, replies, stays == "stays"
        self.payloads = [b"" if p == "-" else bytes.fromhex(p) for p in payloads]
        self.came, self.word, self.said = [], None, False

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.late = reactor.callLater(PATIENCE_S, self.end, "timeout")
        for payload in self.payloads:
            self.sendString(payload)
        if self.replies == "ignored":
            self.transport.loseWriteConnection()

    def stringReceived(self, payload):
        if self.said:
            return
        if self.replies != "ignored":
            self.came.append(shown(payload))
        if self.replies == "ordered" and len(self.came) > len(self.payloads):
            self.end("surplus")
        elif self.replies == "ordered" and len(self.came) == len(self.payloads) and not self.stays:
            self.end("ok")

    def lengthLimitExceeded(self, length):
        self.end("too-large")

    def connectionLost(self, reason):
        self.end({"ConnectionDone": "closed", "ConnectionLost": "reset"}.get(reason.type.__name__, reason.type.__name__))

    def end(self, word):
        if not self.said:
            self.said = True
            if self.late.active():
                self.late.cancel()
            print(self.name, *self.came, word, flush=True)
            self.transport.loseConnection()


@implementer(IHalfCloseableProtocol)
class Sender(Client):
    """Half-closes itself, so it must be told of halves."""

    def readConnectionLost(self):
        self.end("closed")

    def writeConnectionLost(self):
        pass


class Asked(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1 << 26

    def lineReceived(self, line):
        name, port, limit, replies, stays, *payloads = line.decode().split()
        kind = Sender if replies == "ignored" else Client
        factory = protocol.ClientFactory()
        factory.noisy = False
        factory.clientConnectionFailed = lambda *_: print(name, "reset", flush=True)  # as soon as it was accepted
        factory.buildProtocol = lambda _: kind(name, limit, replies, stays, payloads)
        reactor.connectTCP("127.0.0.1", int(port), factory)

    def connectionLost(self, reason=protocol.connectionDone):
        if reactor.running:
            reactor.stop()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    stdio.StandardIO(Asked())
    reactor.run()
