"""`framed inspect` of files and standard input: what is shown, every way to end, and records shown again."""

import base64
import fcntl
import json
import os
import pty
import random
import resource
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from toolkit import FRAMED, LENGTH, PATIENCE_S, ToolTest, frame

HELLO = frame(b"hello")
HELLO_LINE = b'off 0  len 5  "hello"\n'
MAGIC = frame(b"framed record 1\n")
OPENED, DATA, END, CLOSED, LOST = 1, 2, 3, 4, 5
MIDNIGHT_NS = 1699920000 * 10**9  # UTC


def entry(kind, way, conn, time_ns, data=b""):
    return frame(struct.pack(">BBIQ", kind, way, conn, time_ns) + data)


class Inspect(ToolTest):
    def file(self, data=b""):
        """A file with this in it; gone after the test."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "frames")
        with open(path, "wb") as file:
            file.write(data)
        return path

    def shown(self, data, *options, code=0):
        """What standard output has for this on standard input."""
        done = self.run_tool("inspect", *options, stdin=data)
        self.assert_code(done, code)
        return done.stdout

    def objects(self, data, *options, code=0):
        found = [json.loads(line) for line in self.shown(data, "--json", *options, code=code).splitlines()]
        self.assertTrue(all(each.pop("schema") == "framed.inspect/1" for each in found))
        return found


class Openings(Inspect):
    """Streams that begin with an opening; their bytes are those of PROTOCOL.md."""

    CHECKED = bytes.fromhex("f7460110 00000004 3b44c192 00000009 68656c6c6f 524608fe 00000004 0be3eda3")
    LINES = b'off 0  opening of a connector: crc32c; max frame 16 MiB\noff 12  len 5  "hello"\n'

    def test_frames_are_shown_without_their_checksums(self):
        self.assertEqual(self.shown(self.CHECKED), self.LINES + b'off 25  len 0  ""\n')
        found = self.objects(self.CHECKED)
        self.assertEqual(found[0], {"event": "opening", "off": 0, "side": "connector", "mode": 16, "protection": "crc32c",
                                    "max_frame": 16 << 20})
        self.assertEqual([(each["event"], each["len"], each["text"]) for each in found[1:]], [("frame", 5, "hello"), ("frame", 0, "")])

    def test_a_wrong_checksum_and_a_wrong_opening_exit_with_5(self):
        self.assertEqual(self.shown(self.CHECKED[:-1] + b"\0", code=5),
                         self.LINES + b"off 25  len 0  CHECKSUM WRONG: 0be3ed00 came, 0be3eda3 would be right here\n")
        (wrong,) = self.objects(bytes.fromhex("f7460110 00000004 3b44c193"), code=5)
        self.assertEqual((wrong["event"], wrong["error"].partition(":")[0]), ("wrong_opening", "byte 8"))
        self.assertEqual(self.shown(self.CHECKED[:11], code=5), b"off 0  TRUNCATED: have 11 bytes of an opening\n")

    def test_a_record_of_one_is_checked_each_way_and_no_more_behind_lost_bytes(self):
        answer = bytes.fromhex("f7660110 00000004 27daa889 00000009 68656c6c6f 5d2f0ad5")
        record = MAGIC + entry(OPENED, 0, 1, 0, b"x") + entry(DATA, 0, 1, 1, self.CHECKED) + entry(DATA, 1, 1, 2001, answer)
        record += entry(LOST, 1, 1, 3000, struct.pack(">Q", 13)) + entry(DATA, 1, 1, 4000, answer) + entry(CLOSED, 0, 1, 5000)
        found = self.objects(record)
        self.assertEqual([(each["event"], each.get("reply_ns")) for each in found if each.get("way") == "<"],
                         [("opening", None), ("frame", 2000), ("lost", None), ("not_interpreted", None)])
        self.assertEqual([each["event"] for each in found if each.get("way") == ">"], ["opening", "frame", "frame"])

    def test_nothing_of_what_is_encrypted_is_shown_as_text(self):
        data = bytes.fromhex("f7660180") + frame(b"m" * 48) + frame(b"secret!" * 3)
        self.assertEqual(self.shown(data), b"off 0  opening of an acceptor: encrypted, shared key\n"
                                           b"off 4  len 48  handshake message 2\noff 56  len 21  encrypted\n")
        self.assertNotIn(b"secret", self.shown(data, "--json"))
        self.assertIn(b"encrypted records 1  21 B\nopenings  encrypted, shared key 1\n", self.shown(data, "--stats"))


class Reading(Inspect):
    """Where the bytes come from."""

    def test_a_file_a_dash_and_nothing_are_all_read(self):
        path = self.file(HELLO)
        for arguments, data in (([path], b""), (["-"], HELLO), ([], HELLO), (["--", path], b"")):
            with self.subTest(arguments):
                done = self.run_tool("inspect", *arguments, stdin=data)
                self.assert_code(done, 0)
                self.assertEqual(done.stdout, HELLO_LINE)

    def test_standard_input_may_be_a_file(self):
        with open(self.file(HELLO), "rb") as file:
            done = subprocess.run([FRAMED, "inspect"], stdin=file, capture_output=True, timeout=PATIENCE_S, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, HELLO_LINE, b""))

    def test_a_fifo_is_read_to_its_end(self):
        path = self.file() + ".fifo"
        os.mkfifo(path)
        tool = self.start("inspect", path)
        with open(path, "wb") as fifo:  # opens once the tool has
            fifo.write(HELLO)
            fifo.flush()
            self.assertEqual(tool.read_line(), HELLO_LINE)
        self.assertEqual(tool.finish(), (0, b""))

    def test_what_came_is_shown_before_more_is_waited_for(self):
        tool = self.start("inspect")
        for off in (0, 9, 18):
            tool.write(HELLO)
            self.assertEqual(tool.read_line(), HELLO_LINE.replace(b"off 0", b"off %d" % off))
        self.assertEqual(tool.finish(b"\0\0"), (5, b"off 27  TRUNCATED: have 2 of 4 bytes of a length word\n"))

    def test_a_terminal_is_read_too(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        tool = self.start("inspect", stdin=theirs)
        os.close(theirs)
        os.write(ours, b"ABCD\n\x04")  # a line of text, then its end
        self.assertEqual(tool.read_line(), b"off 0  len 1094861636  TOO LARGE: at most 16777216 allowed; this looks like text\n")
        self.assertEqual(tool.read_line(), b"off 4  not interpreted: 1 byte\n")
        self.assertEqual(tool.wait(), 5)

    def test_an_empty_file_shows_nothing(self):
        for arguments in ([self.file()], ["/dev/null"], ["--json", os.devnull]):
            done = self.run_tool("inspect", *arguments)
            self.assert_code(done, 0)
            self.assertEqual(done.stdout, b"")
        self.assertEqual(self.shown(b"", "--stats"), b"frames 0  empty 0  payload 0 B  all 0 B\n")

    def test_what_cannot_be_read_is_said(self):
        path = self.file(HELLO)
        folder = os.path.dirname(path)
        self.assert_code(self.run_tool("inspect", folder), 6, folder, "directory")
        self.assert_code(self.run_tool("inspect", path + ".none"), 6, path + ".none", "No such file")
        self.assert_code(self.run_tool("inspect", path + "/x"), 6, path, "Not a directory")
        self.assert_code(self.run_tool("inspect", ""), 6, "No such file")
        self.assert_code(self.run_tool("inspect", "/proc/self/mem"), 6, "/proc/self/mem", " error")
        fd = os.open(folder, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        done = subprocess.run([FRAMED, "inspect"], stdin=fd, capture_output=True, timeout=PATIENCE_S, check=False)
        self.assertEqual((done.returncode, done.stderr), (6, b"framed: standard input: Is a directory\n"))

    def test_an_unreadable_file_is_said(self):
        path = self.file(HELLO)
        os.chmod(path, 0)
        os.chmod(os.path.dirname(path), 0o711)
        more = {"user": 65534} if os.geteuid() == 0 else {}
        if subprocess.run(["test", "-x", FRAMED], check=False, **more).returncode != 0:
            self.skipTest("the tool lies where others cannot reach it")
        self.assert_code(self.run_tool("inspect", path, **more), 6, path, "Permission denied")

    def test_missing_standard_input_is_said(self):
        done = subprocess.run(["sh", "-c", '"$0" inspect <&-', FRAMED], capture_output=True, timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 6)
        self.assertRegex(done.stderr, b"^framed: standard input: [^\n]+\n$")

    def peak_kib(self, *arguments):
        """The most memory it ever had; and its standard output."""
        process = subprocess.Popen([FRAMED, "inspect", *arguments], stdout=subprocess.PIPE)
        out = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        return usage.ru_maxrss, out

    def test_a_huge_frame_takes_no_memory(self):
        path = self.file()
        size = 600 << 20
        with open(path, "wb") as file:
            file.write(LENGTH.pack(size) + b"abc")
            file.truncate(4 + size)
            file.seek(0, os.SEEK_END)
            file.write(HELLO)
        least, _ = self.peak_kib(self.file(HELLO))
        peak, out = self.peak_kib("--max-frame", "1GiB", path)
        self.assertLess(peak - least, 8 << 10)
        first, second = out.splitlines()
        self.assertTrue(first.startswith(b'off 0  len 629145600  "abc\\x00'), first)
        self.assertTrue(first.endswith(b" more"), first)
        self.assertEqual(second, b'off 629145604  len 5  "hello"')


class Showing(Inspect):
    """What is said of frames."""

    def test_a_cut_frame_exits_with_5(self):
        self.assertEqual(self.shown(b"\0\0\0\5hel", code=5), b"off 0  len 5  TRUNCATED: have 3 of 5 bytes\n")
        self.assertEqual(self.shown(HELLO + b"\0", code=5),
                         HELLO_LINE + b"off 9  TRUNCATED: have 1 of 4 bytes of a length word\n")

    def test_a_frame_too_large_exits_with_5(self):
        self.assertEqual(self.shown(HELLO + frame(b"x" * 17) + HELLO, "--max-frame", "16", code=5),
                         HELLO_LINE + b"off 9  len 17  TOO LARGE: at most 16 allowed\noff 13  not interpreted: 26 bytes\n")

    def test_other_protocols_are_recognised(self):
        for opening, name in ((b"GET / HTTP/1.1\r\n\r\n", b"HTTP"), (b"\x16\x03\x01\x02\x00\x01", b"TLS"),
                              (b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH"), (b"PROXY TCP4 ", b"the PROXY protocol"),
                              (b"\5\0\0\0hello", b"a little-endian length of 5"), (b"hello\n", b"text")):
            with self.subTest(name):
                first = self.shown(opening, code=5).splitlines()[0]
                self.assertTrue(first.endswith(b"; this looks like " + name), first)

    def test_hex_is_what_hexdump_says(self):
        payload = bytes(range(256)) + b"tail"
        lines = self.shown(frame(payload), "--hex", "300").decode().splitlines()
        self.assertEqual(lines[0], "off 0  len 260")
        self.assertEqual(len(lines), 1 + 17)
        for i, line in enumerate(lines[1:]):
            piece = payload[16 * i : 16 * i + 16]
            digits = piece[:8].hex(" ") + ("  " + piece[8:].hex(" ") if len(piece) > 8 else "")
            text = "".join(chr(b) if 32 <= b < 127 else "." for b in piece)
            self.assertEqual(line, f"    {16 * i:08x}  {digits:49} |{text}|")
        self.assertEqual(self.shown(frame(payload), "--hex", "0"), b"off 0  len 260\n")

    def test_json_gives_every_payload_back(self):
        dice = random.Random(3)
        payloads = [b"", b"text \xe2\x82\xac\n", b"\xff", bytes(range(256)), b"x" * 65536]
        payloads += [dice.randbytes(dice.randrange(0, 3000)) for _ in range(200)]
        found = self.objects(b"".join(map(frame, payloads)))
        off = 0
        self.assertEqual(len(found), len(payloads))
        for one, payload in zip(found, payloads):
            self.assertEqual((one["event"], one["off"], one["len"]), ("frame", off, len(payload)))
            self.assertNotIn("cut", one)
            self.assertEqual(one["text"].encode() if "text" in one else base64.b64decode(one["base64"]), payload)
            self.assertEqual("text" in one, payload.decode("utf-8", "replace").encode() == payload)
            off += 4 + len(payload)

    def test_json_is_cut_at_64_kib_or_as_hex_says(self):
        payload = b"x" * 70000
        self.assertEqual(self.objects(frame(payload)),
                         [{"event": "frame", "off": 0, "len": 70000, "text": "x" * 65536, "cut": 70000 - 65536}])
        self.assertEqual(self.objects(frame(payload), "--hex", "2"),
                         [{"event": "frame", "off": 0, "len": 70000, "hex": "7878", "cut": 69998}])
        self.assertEqual(self.objects(frame(payload), "--hex", "100000"),
                         [{"event": "frame", "off": 0, "len": 70000, "hex": "78" * 70000}])

    def test_json_names_what_is_wrong(self):
        self.assertEqual(self.objects(b"\0\0\0\5hel", code=5),
                         [{"event": "truncated", "off": 0, "len": 5, "have": 3, "text": "hel"}])
        self.assertEqual(self.objects(b"POST /", code=5),
                         [{"event": "too_large", "off": 0, "claimed": 0x504F5354, "max_frame": 16 << 20, "looks_like": "HTTP"},
                          {"event": "not_interpreted", "off": 4, "bytes": 2}])

    def test_stats_summarise(self):
        data = frame(b"") + frame(b"ab") + frame(b"x" * 1000)
        self.assertEqual(self.shown(data, "--stats").splitlines()[:2],
                         [b"frames 3  empty 1  payload 1002 B  all 1014 B", b"sizes  smallest 0 B  median 2 B  largest 1000 B"])
        (summary,) = self.objects(data + b"\0", "--stats", code=5)
        self.assertEqual((summary["event"], summary["frames"], summary["bytes"], summary["truncated"]), ("stats", 3, 1015, 1))
        self.assertEqual(summary["sizes"], [[0, 0, 1], [2, 3, 1], [512, 1023, 1]])
        shown = self.shown(HELLO + b"\0", "--stats", code=5)
        self.assertTrue(shown.startswith(b"off 9  TRUNCATED"), shown)

    def test_a_peer_cannot_write_to_the_terminal(self):
        payload = bytes(range(256)) * 2
        for options in ([], ["--hex", "512"], ["--json"]):
            shown = self.shown(frame(payload) + frame("\u009b31m\u0085".encode()), *options)
            self.assertFalse(set(shown) & (set(range(32)) - {10} | {127}), options)
            self.assertNotIn(b"\xc2\x9b", shown)


class Records(Inspect):
    """What --record wrote."""

    SMALL = (MAGIC + entry(OPENED, 0, 1, MIDNIGHT_NS, b"127.0.0.1:5")
             + entry(DATA, 0, 1, MIDNIGHT_NS + 1204 * 10**6, b"\0\0\0\5hel") + entry(DATA, 0, 1, MIDNIGHT_NS + 1205 * 10**6, b"lo")
             + entry(200, 7, 9, 0, b"of a later version")
             + entry(DATA, 1, 1, MIDNIGHT_NS + 1205 * 10**6 + 41000, HELLO)
             + entry(END, 0, 1, MIDNIGHT_NS + 2 * 10**9) + entry(CLOSED, 0, 1, MIDNIGHT_NS + 2 * 10**9))

    def zone(self, name):
        return dict(os.environ, TZ=name)

    def test_a_record_is_shown_as_it_passed(self):
        for zone, hour in (("UTC0", b"00:00"), ("CET-1", b"01:00"), ("NST3:30", b"20:30"), ("NPT-5:45", b"05:45")):
            with self.subTest(zone):
                done = self.run_tool("inspect", stdin=self.SMALL, env=self.zone(zone))
                self.assert_code(done, 0)
                self.assertEqual(done.stdout.replace(hour, b"HH:MM"),
                                 b'HH:MM:00.000 #1 opened 127.0.0.1:5\n'
                                 b'HH:MM:01.205 #1 >  5 B  "hello"\n'
                                 b'HH:MM:01.205 #1 <  5 B  "hello"  41 us\n'
                                 b'HH:MM:02.000 #1 > ended\n'
                                 b'HH:MM:02.000 #1 closed\n')

    def test_a_record_in_json_has_times(self):
        found = self.objects(self.SMALL)
        self.assertEqual([one["event"] for one in found], ["opened", "frame", "frame", "ended", "closed"])
        self.assertEqual(found[2], {"event": "frame", "time_ns": MIDNIGHT_NS + 1205041000, "conn": 1, "way": "<", "off": 0,
                                    "len": 5, "text": "hello", "reply_ns": 41000})

    def test_a_record_is_summarised_both_ways(self):
        (summary,) = self.objects(self.SMALL, "--stats")
        self.assertEqual(summary["connections"], 1)
        self.assertEqual((summary["requests"]["frames"], summary["replies"]["frames"]), (1, 1))
        self.assertEqual(summary["reply_times"]["max_ns"], 41000)
        shown = self.shown(self.SMALL, "--stats")
        self.assertIn(b"\n> requests\nframes 1", shown)
        self.assertIn(b"\n< replies\nframes 1", shown)
        self.assertIn(b"\nreply times 1  p50 41 us  p99 -  max 41 us\n", shown)

    def test_a_record_cut_anywhere_is_named(self):
        ends, at = set(), 0
        while at < len(self.SMALL):
            at += 4 + LENGTH.unpack_from(self.SMALL, at)[0]
            ends.add(at)
        for n in range(len(MAGIC), len(self.SMALL), 7):
            done = self.run_tool("inspect", stdin=self.SMALL[:n])
            self.assert_code(done, 0 if n in ends else 5)
            start = max(end for end in ends if end <= n)
            said = b"off %d  DAMAGED RECORD: it ends inside an entry; from here on not read: %d byte" % (start, n - start)
            self.assertEqual(said in done.stdout, n not in ends, done.stdout)

    def test_a_damaged_record_is_named(self):
        damaged = MAGIC + entry(9, 0, 1, 0) + self.SMALL
        self.assertEqual(self.shown(damaged, code=5),
                         b"off 20  DAMAGED RECORD: an entry of the unknown type 9; from here on not read: %d bytes\n" %
                         (len(damaged) - 20))

    def test_frames_of_a_connection_may_be_wrong_too(self):
        record = MAGIC + entry(OPENED, 0, 1, 0) + entry(DATA, 0, 1, 0, b"GET / ") + entry(CLOSED, 0, 1, 0)
        shown = self.shown(record, code=5)
        self.assertIn(b"#1 > off 0  len 1195725856  TOO LARGE", shown)
        self.assertIn(b"#1 > off 4  not interpreted: 2 bytes\n", shown)

    def test_lost_bytes_are_said_and_no_failure(self):
        record = MAGIC + entry(OPENED, 0, 1, 0) + entry(LOST, 1, 1, 0, struct.pack(">Q", 1 << 40))
        self.assertIn(b"#1 < off 0  LOST: 1099511627776 bytes\n", self.shown(record))


class Ending(Inspect):
    """What stops it."""

    def test_wrong_usage_exits_with_2(self):
        path = self.file(HELLO)
        self.assert_code(self.run_tool("inspect", "--record", path), 2, "--record", "--tap")
        self.assert_code(self.run_tool("inspect", path, path), 2, path)
        self.assert_code(self.run_tool("inspect", "--hex", "x", path), 2, "--hex")
        self.assert_code(self.run_tool("inspect", "--hex", "17000000", path), 2, "--hex")
        self.assert_code(self.run_tool("inspect", "--max-frame", "0", path), 2, "--max-frame")
        self.assert_code(self.run_tool("inspect", "--reply", "x"), 2, "--reply")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), HELLO)

    def test_a_full_disk_is_said(self):
        with open("/dev/full", "wb") as full:
            for arguments in ([], ["--stats"], ["--json"]):
                done = subprocess.run([FRAMED, "inspect", *arguments], input=HELLO, stdout=full, stderr=subprocess.PIPE,
                                      timeout=PATIENCE_S, check=False)
                self.assertEqual(done.returncode, 6)
                self.assertEqual(done.stderr, b"framed: cannot write to standard output: No space left on device\n")

    def test_a_file_that_may_not_grow_is_said(self):
        with tempfile.TemporaryFile() as file:
            done = subprocess.run([FRAMED, "inspect"], input=bytes(100000), stdout=file, stderr=subprocess.PIPE, check=False,
                                  timeout=PATIENCE_S, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
        self.assertEqual(done.returncode, 6)
        self.assertEqual(done.stderr, b"framed: cannot write to standard output: File too large\n")

    def test_a_closed_output_is_said(self):
        done = subprocess.run(["sh", "-c", '"$0" inspect >&-', FRAMED], input=HELLO, stderr=subprocess.PIPE,
                              timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 6)
        self.assertRegex(done.stderr, b"^framed: cannot write to standard output: [^\n]+\n$")

    def test_a_reader_that_has_enough_ends_it_quietly(self):
        tool = self.start("inspect")
        tool.write(HELLO)
        self.assertEqual(tool.read_line(), HELLO_LINE)
        tool.process.stdout.close()  # no input comes: it notices all the same
        self.assertEqual(tool.wait(), 0)
        self.assertEqual(tool.stderr, "")

    def test_a_reader_that_has_enough_ends_a_long_output(self):
        tool = self.start("inspect", self.file(HELLO * 200000))
        self.assertEqual(tool.read_line(), HELLO_LINE)
        tool.process.stdout.close()
        self.assertEqual(tool.wait(), 0)
        self.assertEqual(tool.stderr, "")

    def test_a_signal_ends_it_with_128_and_its_number(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            tool = self.start("inspect")
            tool.write(HELLO + b"\0\0")
            tool.read_line()
            tool.signal(number)
            self.assertEqual(tool.wait(), 128 + number)
            self.assertEqual((tool.process.stdout.read(), tool.stderr), (b"", ""))

    def test_a_signal_while_nobody_takes_the_output_ends_it(self):
        tool = self.start("inspect", self.file(HELLO * 200000))
        tool.read_line()  # the pipe is full soon
        tool.signal(signal.SIGINT)
        self.assertEqual(tool.wait(), 130)

    def test_a_signal_asks_for_the_summary(self):
        tool = self.start("inspect", "--stats", "--json")
        tool.write(HELLO)
        tool.write(b"GET / ")  # no line says when it was read; the summary counts whole pieces
        limit = time.monotonic() + PATIENCE_S
        while not self.has_read_all(tool):
            self.assertLess(time.monotonic(), limit)
        tool.signal(signal.SIGINT)
        self.assertEqual(tool.wait(), 130)
        summary = json.loads(tool.process.stdout.read())
        self.assertEqual((summary["frames"], summary["bytes"], summary["too_large"]), (1, 15, 1))

    def has_read_all(self, tool):
        """Its standard input is empty, and it waits for more."""
        with open(f"/proc/{tool.process.pid}/stat", encoding="ascii") as file:
            asleep = file.read().rsplit(")", 1)[1].split()[0] == "S"
        with open(f"/proc/{tool.process.pid}/fd/0", "rb") as pipe:
            unread = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]
        return asleep and unread == 0


if __name__ == "__main__":
    unittest.main()
