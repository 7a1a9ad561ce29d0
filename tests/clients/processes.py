"""Server processes of the suite: started on free loopback ports, awaited by what they answer, gone at the end."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

START_DEADLINE = 60  # seconds; a bound, not a wait: readiness is polled
STOP_DEADLINE = 15
PR_SET_PDEATHSIG = 1


class StartError(Exception):
    """A server did not come up."""


def free_ports(count):
    """Distinct ports nobody listens on, below the range that outgoing connections draw from."""
    held = []
    try:
        while len(held) < count:
            probe = socket.socket()
            try:
                probe.bind(("127.0.0.1", random.randrange(15000, 32000)))
            except OSError:
                probe.close()
                continue
            held.append(probe)
        return [probe.getsockname()[1] for probe in held]
    finally:
        for probe in held:
            probe.close()


def poll(condition, deadline, what):
    """The first true value of `condition`, or a TimeoutError that says what was awaited."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline} s: {what}")
        time.sleep(0.02)


def status_of(url):
    """The HTTP status of a GET, or None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One process, its log, and the way it says that it is ready."""

    def __init__(self, name, command, ready, folder, environment=None):
        self.name = name
        self.log = Path(folder) / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment or own_environment(folder),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        try:
            poll(lambda: self._alive() and ready(), START_DEADLINE, f"{name} to be ready")
        except (StartError, TimeoutError) as error:
            self.stop()
            raise StartError(f"{error}\n{self.log_tail()}") from error

    def _alive(self):
        if self.process.poll() is not None:
            raise StartError(f"{self.name} ended with {self.process.returncode}")
        return True

    def stop(self, politely=True):
        """SIGTERM, then SIGKILL to whatever of its process group is left."""
        if politely and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def log_tail(self, since=0, limit=6000):
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")[-limit:]


def own_environment(home, **more):
    """What a program of the suite sees: nothing of the caller's keys, proxies or configuration."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    environment.update({name: str(value) for name, value in more.items()})
    return environment


def started(start, tries=3):
    """A server by `start()`, on other ports should somebody have taken the first ones."""
    for left in reversed(range(tries)):
        try:
            return start()
        except StartError as error:
            if not left or "in use" not in str(error):
                raise
    raise AssertionError("unreachable")
