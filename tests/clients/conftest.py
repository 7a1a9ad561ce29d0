"""Which tests meet which target, and the servers that they share.

Targets of a gateway run (`BUCKETWARDEN_BIN` names the binary):
  dev        `bucketwarden dev`: everything
  weed       `serve` over SeaweedFS: everything but `heavy`
  moto       `serve` over moto: everything but `heavy`
  moto-tls   `serve` over moto, https: the tests marked `everywhere`
  oci        `serve` over the stand-in for OCI: everything but `heavy`
  oci-throttled  the same, where every third request to the stand-in is throttled: the tests marked `everywhere` or
             `oci_throttled`
  oci-tls    the same, https: the tests marked `oci_defaults`
  *-view     `serve` with the platform's view of the bucket: the tests marked `platform_view`
`CLIENTS_DIRECT=1` runs the suite against SeaweedFS and moto themselves instead, without any gateway: what fails
there is theirs, and belongs into known_upstream.py.
"""

import itertools
import os
from dataclasses import replace

import pytest

import known_upstream
import servers
from users import Command

DIRECT = os.environ.get("CLIENTS_DIRECT") == "1"
GATEWAY_TARGETS = ("dev", "weed", "moto", "moto-tls", "oci", "oci-throttled")
OCI_TARGETS = {"oci_defaults": ("oci-tls",), "oci_throttled": ("oci-throttled",)}
PARTLY = ("moto-tls", "oci-throttled")
VIEW_TARGETS = ("weed-view", "moto-view")
DIRECT_TARGETS = ("weed-direct", "moto-direct")


class Fleet:
    """The session's targets, each started when a test first asks for it."""

    def __init__(self, folder):
        self.folder = folder
        self.targets = {}
        self.failures = {}

    def target(self, name):
        if name in self.failures:
            pytest.fail(f"{name} did not start: {self.failures[name]}", pytrace=False)
        if name not in self.targets:
            try:
                self.targets[name] = self._start(name, self.folder / name)
            except Exception as error:
                self.failures[name] = str(error).splitlines()[0]
                raise
        return self.targets[name]

    def _start(self, name, folder):
        kind, _, variant = name.partition("-")
        if variant == "direct":
            return servers.direct(kind, folder)
        if kind == "dev":
            target = servers.dev(folder)
        else:
            # A variant has a neighbour over the same upstream, unless it is the upstream that varies.
            neighbour = self.targets.get(kind) if variant != "throttled" else None
            service = neighbour.upstream if neighbour else None
            target = servers.serve(kind, folder, variant, service)
        for user in target.users.values():
            user.answer_check = lambda user, headers, body, target=target: _check_answer(target, headers, body)
        return target

    def stop(self):
        for target in reversed(self.targets.values()):
            target.stop()


def _check_answer(target, headers, body):
    """Holds for every answer of the gateway that boto3 sees."""
    assert headers.get("x-amz-request-id"), f"no x-amz-request-id in {headers}"
    if not target.upstream:
        return
    where = target.upstream.endpoint.split("//")[1]
    secrets = [servers.REAL_BUCKET, servers.NAMESPACE, where, *servers.UPSTREAM_KEYS]
    for name, value in headers.items():
        assert not name.lower().startswith(("opc-", "access-control-", "x-api-id")), f"{name}: {value}"
        if name.lower() != "x-bucketwarden-uri":
            assert not any(secret in value for secret in secrets), f"{name}: {value}"
    if isinstance(body, bytes):
        assert not any(secret.encode() in body for secret in secrets), body


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("servers"))
    yield fleet
    fleet.stop()


def pytest_generate_tests(metafunc):
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", _targets_for(metafunc.definition), indirect=True, scope="session")


def _targets_for(item):
    marks = {mark.name for mark in item.iter_markers()}
    if DIRECT:
        return [] if marks & {"gateway_only", "heavy", "platform_view", *OCI_TARGETS} else DIRECT_TARGETS
    if "heavy" in marks:
        return ["dev"]
    for mark in marks & OCI_TARGETS.keys():
        return OCI_TARGETS[mark]
    if "platform_view" in marks:
        return VIEW_TARGETS
    return [name for name in GATEWAY_TARGETS if name not in PARTLY or "everywhere" in marks]


def pytest_collection_modifyitems(items):
    for item in items:
        parameters = getattr(item, "callspec", None)
        target = parameters and parameters.params.get("target")
        if isinstance(target, str):
            mark = known_upstream.mark(target, item.name)
            if mark:
                item.add_marker(mark)
    # One target after the other, so that a machine with two cores runs one upstream's work at a time.
    order = {name: place for place, name in enumerate(GATEWAY_TARGETS + OCI_TARGETS["oci_defaults"] + VIEW_TARGETS + DIRECT_TARGETS)}
    items.sort(key=lambda item: order.get(getattr(item, "callspec", None) and item.callspec.params.get("target"), -1))


@pytest.fixture(scope="session")
def target(request, fleet):
    return fleet.target(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure carries what the target's servers logged during the test."""
    report = yield
    target = getattr(item, "funcargs", {}).get("target")
    if call.when == "setup" and target:
        item.stash[_log_starts] = {server.log: server.log.stat().st_size for server in _processes(target)}
    if report.failed and target:
        starts = item.stash.get(_log_starts, {})
        for process in _processes(target):
            said = process.log_tail(since=starts.get(process.log, 0), limit=4000)
            report.sections.append((f"log of {process.name}", said))
    return report


_log_starts = pytest.StashKey()


def _processes(target):
    return [getattr(server, "server", server) for server in target.servers]


@pytest.fixture
def alice(target):
    return target.users["alice"]


@pytest.fixture
def bob(target):
    return target.users["bob"]


_folders = itertools.count(1)


@pytest.fixture
def folder():
    """A key prefix that is this test's own, without its closing slash."""
    return f"test-{next(_folders)}"


@pytest.fixture
def home(tmp_path):
    """The working and home folder of a command-line client."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def command(alice, home):
    """Builds command-line clients that act as alice, or as another user."""

    def build(*words, user=alice, **environment):
        words = (servers.program(words[0]), *words[1:])
        return Command(words, user.environment(home, **environment), home)

    return build


@pytest.fixture
def curl(alice, home):
    trust = ("--cacert", str(alice.authority)) if alice.authority else ()
    return Command(("curl", "--silent", "--show-error", *trust), alice.environment(home), home)


@pytest.fixture
def stranger(alice):
    """alice's endpoint with keys nobody was given."""
    return replace(alice, access_key="AKIANOBODY0000000000", secret_key="no secret", _clients={})
