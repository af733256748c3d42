"""A Twisted echo of 4-byte frames as it is usually written."""
import sys

from twisted.internet import protocol, reactor
from twisted.protocols.basic import Int32StringReceiver


class Echo(Int32StringReceiver):
    MAX_LENGTH = 16 << 20

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def stringReceived(self, string):
        self.sendString(string)


port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface="127.0.0.1", backlog=4096)
print(f"twisted: listening on 127.0.0.1:{port.getHost().port}", file=sys.stderr, flush=True)
reactor.run()
