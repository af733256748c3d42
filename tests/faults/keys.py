"""How the ends of a rig's connections speak when not in plain frames: options of `framed`, and keys that `framed keygen` made.

Owns: the files of keys, and the options that name them. FOLDER/ in an option stands for where the files are.
"""

import os
import re
import subprocess

CHECKED = ["--checksum", "crc32c"]
SHARED = ["--psk", "FOLDER/psk"]
PINNED = ["--key", "FOLDER/key", "--authorized-peers", "FOLDER/peers"]  # a server's
MINE = ["--key", "FOLDER/my_key", "--peer-key", "FOLDER/public"]  # its client's


def placed(args, folder):
    return [re.sub("^FOLDER/", folder + "/", arg) for arg in args]


def make(framed, folder):
    """False: built without libsodium."""
    for *args, public, name in (["psk", "--psk", "--id", "me", None, b""], ["key", "public", b""], ["my_key", "peers", b" me"]):
        done = subprocess.run([framed, "keygen", "-o", *args], cwd=folder, check=False, capture_output=True)
        if done.returncode == 7:
            return False
        if done.returncode != 0:
            raise RuntimeError(f"keygen: exit {done.returncode}, {done.stderr!r}")
        if public:
            with open(os.path.join(folder, public), "wb") as file:
                file.write(done.stdout.rstrip() + name + b"\n")
    return True


def ways(framed, folder):
    """{NAME: (options of a server, options of a client)}, of what is built; what is not is said in a line."""
    found = {"crc32c": (CHECKED, CHECKED)}
    if make(framed, folder):
        found |= {"psk": (SHARED, SHARED), "pinned": (PINNED, MINE)}
    else:
        print("built without libsodium: no keys", flush=True)
    return {name: tuple(placed(args, folder) for args in both) for name, both in found.items()}
