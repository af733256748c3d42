#!/usr/bin/env python3
"""
Owns: that the Makefile builds again only what has changed.
Must not know: what the programs do.
Invariants: builds in a folder of the test's, a few small objects.
"""
import subprocess
import tempfile
import unittest

from toolkit import PATIENCE_S, ROOT


class Make(unittest.TestCase):
    def test_every_object_is_built_with_the_same_flags(self):
        """What one kind of object needs more (-Itests/support) must not reach $(BUILD)/flags: everything would be built again."""
        objects = ["proto/buf", "tests/unit/test_buf", "tests/unit/test_noise", "tests/sim/test_sim_fuzz", "fuzz/fuzz_options", "bench/tally", "bench/compare/peer"]
        with tempfile.TemporaryDirectory() as build:
            written = []
            for name in objects:
                words = ["make", "-s", "-n", "BUILD=" + build, "CFLAGS=", f"{build}/obj/{name}.o"]
                done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=PATIENCE_S, check=False, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                written += {line for line in done.stdout.splitlines() if "> " + build + "/flags" in line}
        self.assertEqual(len(written), len(objects))
        self.assertEqual(set(written), {written[0]})

    def test_headers_count_however_the_folder_is_named(self):
        with tempfile.TemporaryDirectory() as build:
            words = ["make", "-s", "BUILD=" + build, "CFLAGS=-O0", build + "/obj/proto/buf.o"]
            done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=PATIENCE_S, check=False, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(build + "/obj/proto/buf.d", encoding="utf-8") as f:
                self.assertTrue(f.read().startswith("$(BUILD)/obj/proto/buf.o: proto/buf.c"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
