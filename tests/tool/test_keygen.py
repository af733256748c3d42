#!/usr/bin/env python3
"""
Owns: `framed keygen` and `framed pubkey`: what they make and print, whose file they refuse, what they never say.
Must not know: how the tool makes or reads a key; the public key of a secret one is computed here once more (RFC 7748 §5).
Invariants: every file lies in a folder of the test's; whatever is printed, nothing of a secret is in it (`keys`).
"""

import base64
import os
import re
import resource
import socket
import stat
import tempfile
import unittest

from toolkit import PROGRAM, ToolTest

with open(PROGRAM, "rb") as program:
    SODIUM = b"sodium_" in program.read()  # its symbols: not asked of what is tested

SECRET = re.compile(rb"(framed-(?:sec|psk)-1:)([A-Za-z0-9_-]{43})")
PUBLIC_LINE = re.compile(rb"\Aframed-pub-1:[A-Za-z0-9_-]{43}\n\Z")
KEY = "framed-sec-1:XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os"  # RFC 7748 §6.1, Bob's
PUBLIC = "framed-pub-1:3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"


def decoded(text):
    return base64.urlsafe_b64decode(text.split(b":")[1].strip() + b"=")


def public_of(secret):
    """X25519 of the base point, as RFC 7748 §5 writes it."""
    p = 2**255 - 19
    k = int.from_bytes(secret, "little") & ~7 & (2**255 - 1) | 2**254
    x1, x2, z2, x3, z3, swap = 9, 1, 0, 9, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3, x2, z2 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p, aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


class KeyTest(ToolTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.secrets = {KEY.split(":")[1].encode()}

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, data=KEY + "\n", mode=0o600):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(data.encode())
        os.chmod(path, mode)
        return path

    def read(self, path):
        with open(path, "rb") as f:
            return f.read()

    def keys(self, *args, **more):
        """Runs the tool; whatever it said, no eight characters of a secret that lies in the folder are in it."""
        done = self.run_tool(*args, **more)
        for name in os.listdir(self.folder):
            if os.path.isfile(self.path(name)) and os.path.getsize(self.path(name)) <= 2 << 20:
                self.secrets |= {letters for _, letters in SECRET.findall(self.read(self.path(name)))}
        said = done.stdout + done.stderr.encode()
        for letters in self.secrets:
            for i in range(len(letters) - 7):
                self.assertNotIn(letters[i : i + 8], said)
        return done


@unittest.skipUnless(SODIUM, "built without libsodium")
class Keygen(KeyTest):
    def test_secret_key_goes_into_the_file_and_the_public_one_to_standard_output(self):
        done = self.keys("keygen", "-o", self.path("key"))
        self.assert_code(done, 0)
        self.assertRegex(done.stdout, PUBLIC_LINE)
        text = self.read(self.path("key"))
        self.assertRegex(text, rb"\Aframed-sec-1:[A-Za-z0-9_-]{43}\n\Z")
        self.assertEqual(decoded(done.stdout), public_of(decoded(text)))
        self.assertEqual(self.keys("pubkey", self.path("key")).stdout, done.stdout)
        self.assertEqual(os.listdir(self.folder), ["key"])

    def test_shared_key_has_its_id_before_it_and_nothing_is_printed(self):
        for identity in ("db", "!", "a#b", "x" * 64):
            with self.subTest(identity):
                path = self.path("shared-%d" % len(identity) + identity[:1])
                done = self.keys("keygen", "--psk", "--id", identity, "--output", path)
                self.assert_code(done, 0)
                self.assertEqual(done.stdout, b"")
                self.assertRegex(self.read(path), rb"\A" + re.escape(identity.encode()) + rb" framed-psk-1:[A-Za-z0-9_-]{43}\n\Z")

    def test_every_key_is_another(self):
        made = set()
        for i in range(8):
            self.assert_code(self.keys("keygen", "-o", self.path(f"a{i}")), 0)
            self.assert_code(self.keys("keygen", "--psk", "--id", "x", "-o", self.path(f"b{i}")), 0)
            made |= {SECRET.search(self.read(self.path(name + str(i)))).group(2) for name in "ab"}
        self.assertEqual(len(made), 16)

    def test_file_is_for_its_owner_alone_whatever_the_umask(self):
        for mask in (0, 0o022, 0o277, 0o777):
            for what in ([], ["--psk", "--id", "x"]):
                path = self.path("key-%o-%d" % (mask, len(what)))
                self.assert_code(self.keys("keygen", *what, "-o", path, preexec_fn=lambda mask=mask: os.umask(mask)), 0)
                self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_what_is_there_is_never_overwritten(self):
        there = self.file("there", "mine\n", 0o640)
        os.symlink(there, self.path("link"))
        os.symlink(self.path("nowhere"), self.path("dangling"))
        os.mkdir(self.path("folder"))
        os.mkfifo(self.path("fifo"))
        before = sorted(os.listdir(self.folder))
        for name in before:
            for what in ([], ["--psk", "--id", "x"]):
                with self.subTest(name=name, what=what):
                    done = self.keys("keygen", *what, "-o", self.path(name))
                    self.assert_code(done, 6, self.path(name) + ": is there already, and is not overwritten")
                    self.assertEqual(done.stdout, b"")
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        self.assertEqual(self.read(there), b"mine\n")
        self.assertEqual(stat.S_IMODE(os.stat(there).st_mode), 0o640)

    def with_room(self, room):
        """Makes a key where a file may have so many bytes: that is said as a full disk is."""
        counts = tempfile.TemporaryDirectory()  # a build that counts branches writes files, too
        self.addCleanup(counts.cleanup)
        return self.keys("keygen", "-o", self.path("key"), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
                         env={**os.environ, "GCOV_PREFIX": counts.name, "GCOV_ERROR_FILE": os.devnull})

    def test_full_disk_leaves_no_file(self):
        for room in (0, 10, 56):
            with self.subTest(room):
                done = self.with_room(room)
                self.assert_code(done, 6, self.path("key") + ": ")
                self.assertEqual((done.stdout, os.listdir(self.folder)), (b"", []))
        self.assert_code(self.with_room(57), 0)

    def test_folder_that_is_not_there_is_said(self):
        self.assert_code(self.keys("keygen", "-o", self.path("no/key")), 6, self.path("no/key") + ": ")
        self.assert_code(self.keys("keygen", "-o", self.file("file") + "/key"), 6, self.path("file/key") + ": ")
        self.assert_code(self.keys("keygen", "-o", ""), 2, "the name of a file is missing: it is empty")

    def test_file_in_the_folder_one_is_in(self):
        self.assert_code(self.keys("keygen", "-o", "key", cwd=self.folder), 0)
        self.assert_code(self.keys("pubkey", "./key", cwd=self.folder), 0)

    def test_public_key_that_cannot_be_printed_is_a_failure_and_the_file_stays(self):
        done = self.keys("keygen", "-o", self.path("key"), preexec_fn=lambda: os.close(1))
        self.assert_code(done, 6, "standard output")
        printed = self.keys("pubkey", self.path("key"))
        self.assertEqual(decoded(printed.stdout), public_of(decoded(self.read(self.path("key")))))
        for command in (["keygen", "-o", self.path("other")], ["pubkey", self.path("key")]):
            with open("/dev/full", "wb") as full:
                process = self.start(*command, stdout=full)
                self.assertEqual(process.wait(), 6)
            self.assertIn("standard output", process.stderr)
        self.assert_code(self.keys("keygen", "--psk", "--id", "x", "-o", self.path("shared"), preexec_fn=lambda: os.close(1)), 0)


@unittest.skipUnless(SODIUM, "built without libsodium")
class Pubkey(KeyTest):
    def refused(self, path, *said, **more):
        done = self.keys("pubkey", path, **more)
        self.assert_code(done, 6, path, *said)
        self.assertEqual(done.stdout, b"")

    def test_public_key_is_the_one_of_rfc_7748(self):
        for data in (KEY, KEY + "\n", "# mine\n\n  " + KEY + " \n# and no more"):
            for mode in (0o600, 0o400, 0o700):
                done = self.keys("pubkey", self.file("key-%o-%d" % (mode, len(data)), data, mode))
                self.assert_code(done, 0)
                self.assertEqual(done.stdout.decode(), PUBLIC + "\n")

    def test_file_that_others_have_rights_to_is_refused(self):
        for mode in (0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o666):
            self.refused(self.file("key-%o" % mode, mode=mode), "others than its owner have rights to it", "chmod 600")

    @unittest.skipUnless(os.geteuid() == 0, "only root gives files away")
    def test_file_of_another_user_is_refused(self):
        path = self.file("key")
        os.chown(path, 12345, 0)
        self.refused(path, "belongs to another user")

    def test_symbolic_link_is_refused(self):
        os.symlink(self.file("key"), self.path("link"))
        os.symlink(self.path("nowhere"), self.path("dangling"))
        for name in ("link", "dangling"):
            self.refused(self.path(name), "a symbolic link")
        os.mkdir(self.path("folder"))
        os.symlink(self.path("folder"), self.path("other"))  # on the way there may be some
        self.file("folder/key")
        self.assert_code(self.keys("pubkey", self.path("other/key")), 0)

    def test_what_is_no_file_is_refused_without_waiting(self):
        os.mkfifo(self.path("fifo"), 0o600)
        self.refused(self.path("fifo"), "not a regular file")
        os.mkdir(self.path("folder"), 0o700)
        self.refused(self.path("folder"), "not a regular file")
        self.refused("/dev/null", "not a regular file")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.path("socket"))
            self.refused(self.path("socket"))
        self.refused(self.path("nowhere"))

    def test_what_is_in_it_must_be_one_secret_key(self):
        for name, data, said in (("empty", "", "1: there is no key"), ("cut", KEY[:-1] + "\n", "1: that key is cut"),
                                 ("crlf", KEY + "\r\n", "1: a carriage return (CRLF)"),
                                 ("two", f"{KEY}\n{KEY}\n", "2: a second line"), ("public", PUBLIC, "1: that is a public key"),
                                 ("id", "db " + KEY.replace("sec", "psk"), "1: that is no key"),
                                 ("changed", KEY[:-1] + "t", "1: that key was changed")):
            with self.subTest(name):
                self.refused(self.file(name, data), f"{name}:{said}")

    def test_file_that_is_too_large_is_refused(self):
        path = self.file("large", KEY + "\n")
        for size in ((1 << 20) + 1, 1 << 40):
            os.truncate(path, size)
            self.refused(path, "too large", "1 MiB")
        os.truncate(path, 1 << 20)
        self.refused(path, ":2: a zero byte")
        self.assert_code(self.keys("pubkey", self.file("just", KEY + "\n" + "#" * ((1 << 20) - len(KEY) - 1))), 0)


class Usage(KeyTest):
    def test_what_is_missing_or_wrong(self):
        out = ("-o", self.path("key"))
        for args, said in (((), "-o FILE"), (("--psk", "--id", "x"), "-o FILE"), ((*out, "--psk"), "--psk and --id ID go together"),
                           ((*out, "--id", "x"), "--psk and --id ID go together"), (("-o", "-"), "not to standard output"),
                           ((*out, "more"), "too many")):
            self.assert_code(self.keys("keygen", *args), 2, said)
        for identity in ("", "#x", "a b", "a\tb", "x" * 65, "\xe4"):
            self.assert_code(self.keys("keygen", "--psk", "--id", identity, *out), 2, "--id: ", "1 to 64 printable characters")
        self.assert_code(self.keys("pubkey"), 2, "framed pubkey FILE")
        self.assert_code(self.keys("pubkey", "a", "b"), 2, "too many")
        self.assertEqual(os.listdir(self.folder), [])

    def test_key_where_the_name_of_a_file_is_wanted_is_not_repeated(self):
        for key in (KEY, KEY.replace("sec", "psk")):
            self.assert_code(self.keys("pubkey", key), 2, "that is a key, where the name of a file is wanted")
            self.assert_code(self.keys("keygen", "-o", key, cwd=self.folder), 2, "that is a key, where the name of a file is wanted")
            self.assert_code(self.keys("keygen", "--psk", "--id", key, "-o", self.path("key")), 2, "that is a key, where a name or an id")
        self.assertEqual(os.listdir(self.folder), [])


@unittest.skipIf(SODIUM, "built with libsodium")
class WithoutLibsodium(KeyTest):
    def test_it_says_so_and_makes_nothing(self):
        for args in (("keygen", "-o", self.path("a")), ("keygen", "--psk", "--id", "x", "-o", self.path("b"))):
            done = self.keys(*args)
            self.assert_code(done, 7, "not built in: keys need libsodium")
            self.assertEqual((done.stdout, os.listdir(self.folder)), (b"", []))
        done = self.keys("pubkey", self.file("key"))
        self.assert_code(done, 7, "not built in: keys need libsodium")
        self.assertEqual(done.stdout, b"")


if __name__ == "__main__":
    unittest.main()
