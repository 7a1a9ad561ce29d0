"""Containers of the image under test: started, looked into, stopped by the signal that the image names."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from processes import START_DEADLINE, STOP_DEADLINE, Server, poll

CONTAIN = Path(__file__).with_name("contain.py")
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]


class Container:
    """One run of an image's command, or of `command` behind its entry point."""

    def __init__(self, buildah, image, mounts=(), command=None, **variables):
        config = buildah.config(image)
        self.buildah = buildah
        self.health = config["Healthcheck"]["Test"]
        self.stop_signal = signal.Signals[config["StopSignal"]]
        self.user, self.group = (int(number) for number in config["User"].split(":"))
        self.environment = dict(pair.split("=", 1) for pair in config["Env"]) | variables
        self.id, self.root = buildah.container(image)
        self.contained = {
            "root": str(self.root),
            "mounts": [[str(source), target, mode] for source, target, mode in mounts],
            "user": self.user,
            "group": self.group,
            "working_directory": config["WorkingDir"],
            "environment": self.environment,
            "command": [*config["Entrypoint"], *(command or config["Cmd"])],
        }
        self.server = None

    def _words(self):
        return [*NAMESPACES, sys.executable, CONTAIN, json.dumps(self.contained)]

    def run(self):
        """To its end."""
        words = [str(word) for word in self._words()]
        return subprocess.run(words, capture_output=True, timeout=60, check=False)

    def start(self, folder):
        """Until the image's health check passes."""
        self.server = Server("container", self._words(), lambda: True, folder)
        ready = lambda: self.server.process.poll() is not None or self.healthy()
        poll(ready, START_DEADLINE, "the health check to pass")
        assert self.server.process.poll() is None, self.server.log_tail()

    @property
    def pid(self):
        """Of the first process in it, as this machine counts."""
        outside = self.server.process.pid
        children = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        return int(children[0]) if children else None

    def execute(self, *command, **variables):
        """A further command inside, with the same user and sight."""
        words = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root", "--wd"]
        words += [f"--setgid={self.group}", f"--setuid={self.user}", "--", *command]
        environment = self.environment | variables
        return subprocess.run(words, env=environment, capture_output=True, timeout=60, check=False)

    def healthy(self):
        kind, *command = self.health
        assert kind == "CMD", "a shell would be needed, and there is none"
        return self.pid and self.execute(*command).returncode == 0

    def stop(self):
        """As `docker stop` does; the exit status."""
        os.kill(self.pid, self.stop_signal)
        return self.server.process.wait(STOP_DEADLINE)

    def remove(self):
        if self.server and self.server.process.poll() is None:
            # Whoever started the first process inside takes leave of it, and ends with it.
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
                self.server.process.wait(STOP_DEADLINE)
            self.server.stop(politely=False)
        self.buildah("umount", self.id)
        self.buildah("rm", self.id)
