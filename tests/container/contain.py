"""Becomes a command in an image's root file system, as under `docker run --read-only --cap-drop=ALL --network=host
--security-opt=no-new-privileges`. To be started in new mount and pid namespaces; says nothing and leaves nothing, since
its mounts end with the namespace. In: one JSON document, a `Contained` of containers.py."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38


def main():
    asked = json.loads(sys.argv[1])
    root = Path(asked["root"])
    mount("--bind", root, root)
    for source, target, mode in asked["mounts"]:
        place = root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(exist_ok=True) if Path(source).is_dir() else place.touch()
        mount("--bind", source, place)
        if mode == "ro":
            mount("-o", "remount,bind,ro", place)
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root / "dev")
    (root / "dev/null").touch()
    mount("--bind", "/dev/null", root / "dev/null")
    mount("-o", "remount,bind,ro", root)

    os.chroot(root)
    os.chdir(asked["working_directory"])
    os.setgroups([])
    os.setgid(asked["group"])
    os.setuid(asked["user"])
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    # After the change of user, which forgets it.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execve(asked["command"][0], asked["command"], asked["environment"])


def mount(*words):
    subprocess.run(["mount", *(str(word) for word in words)], check=True)


def prctl(option, value):
    if ctypes.CDLL(None).prctl(option, value, 0, 0, 0):
        raise OSError(f"prctl {option}")


main()
