"""The known answers in proto/vectors are what dissononce says: what tests/noise/*.py make of it, to the byte.

Owns: that, and that a digit which was changed is noticed. Must not know what is in the files.
"""

import os
import random
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SEED = os.environ.get("PEERS_SEED", "1")
DIGITS = "0123456789abcdef"


class Answers(unittest.TestCase):
    MADE = (("answers.py", "noise.txt"), ("encrypted.py", "encrypted.txt"))

    def check(self, script, path):
        done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "tests", "noise", script), "--check", path],
                              capture_output=True, text=True, check=False, timeout=100)
        return done.returncode, done.stdout + done.stderr

    def test_what_is_kept_is_what_is_made(self):
        for script, name in self.MADE:
            with self.subTest(name):
                path = os.path.join(ROOT, "proto", "vectors", name)
                self.assertEqual(self.check(script, path), (0, f"{script[:-3]}: as they are\n"))

    def test_a_changed_digit_is_noticed(self):
        draw = random.Random(SEED)
        for script, name in self.MADE:
            with self.subTest(name), tempfile.NamedTemporaryFile("w", encoding="utf-8") as changed:
                with open(os.path.join(ROOT, "proto", "vectors", name), encoding="utf-8") as file:
                    text = file.read()
                at = draw.choice([i for i, char in enumerate(text) if char in DIGITS and text[i - 1] in DIGITS])
                changed.write(text[:at] + draw.choice(DIGITS.replace(text[at], "")) + text[at + 1:])
                changed.flush()
                self.assertEqual(self.check(script, changed.name),
                                 (1, f"{script[:-3]}: {changed.name} is not what dissononce says\n"), f"at {at}")


if __name__ == "__main__":
    unittest.main()
