"""Owns: one end of a connection that is watched byte by byte: what came, and how it ended.
Must not know: rows, and who is at the other end.
Invariants: it reads whatever comes while it sends or waits, so that the other end never waits for it; after the other end's end
it can still send; an end and a reset are never taken for each other.
"""

import select
import socket
import struct
import time

TCP_CLOSE = 7  # the first byte of TCP_INFO: the connection is over in both directions, or was reset
SENDS_AT_ONCE = 1 << 18


class Talk:
    def __init__(self, sock):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.got, self.over = sock, bytearray(), None  # over: None, "ends" or "resets"
        self._poll = select.poll()

    def close(self):
        self.sock.close()

    def _read(self):
        while self.over is None:
            try:
                piece = self.sock.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                self.over = "resets"
                return
            self.got += piece
            if not piece:
                self.over = "ends"

    def _wait(self, writable, seconds):
        """Until something can be done, reading what comes. True: it can be written."""
        events = (0 if self.over else select.POLLIN) | (select.POLLOUT if writable else 0)
        self._poll.register(self.sock, events)
        ready = self._poll.poll(max(0, seconds) * 1000)
        self._read()
        if ready and ready[0][1] & select.POLLERR:
            self.over = "resets"
        return bool(ready and ready[0][1] & select.POLLOUT)

    def send(self, data, patience):
        """False: it could not all be sent. It is given up when nothing has moved for so long, either way."""
        data = memoryview(data)
        moved, limit = None, 0.0
        while data and self.over != "resets":
            if moved != (len(data), len(self.got)):
                moved, limit = (len(data), len(self.got)), time.monotonic() + patience
            elif time.monotonic() > limit:
                return False
            if not self._wait(True, limit - time.monotonic()):
                continue
            try:
                data = data[self.sock.send(data[:SENDS_AT_ONCE]) :]
            except BlockingIOError:
                pass
            except OSError:
                self.over = "resets"
        return not data

    def until(self, enough, seconds):
        """Reads until enough(), the end, or nothing has come for so long. True: enough()."""
        self._read()
        came, limit = len(self.got), time.monotonic() + seconds
        while not enough() and self.over is None:
            left = limit - time.monotonic()
            if left <= 0:
                return False
            self._wait(False, left)
            if len(self.got) > came:
                came, limit = len(self.got), time.monotonic() + seconds
        return enough()

    def pause(self, seconds):
        limit = time.monotonic() + seconds
        while self.over is None and (left := limit - time.monotonic()) > 0:
            self._wait(False, left)

    def until_over(self, seconds):
        return self.until(lambda: self.over is not None, seconds)

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.over = "resets"

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def settle(self, seconds):
        """Both have ended: waits until the system knows that all of ours was taken, or that it was answered with a reset."""
        limit = time.monotonic() + seconds
        while self.over != "resets" and time.monotonic() < limit:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self.over = "resets"
            elif self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE:
                return
            else:
                time.sleep(0.001)
