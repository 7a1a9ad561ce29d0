"""The image is built, and runs, and keeps what it promises: nobody's root, nothing to write to but its volume, a health
check that tells the truth, and a drain at SIGTERM though it is the first process."""

import json
import os
import secrets
import signal
import tomllib
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

import images
import servers
from corpus import MIB, content
from processes import free_ports, poll, status_of
from users import Command, User

PROGRAM = "/usr/local/bin/bucketwarden"
VOLUME = "/var/lib/bucketwarden"
SECRETS = "/run/secrets"
RELOADED = 'bucketwarden_config_reloads_total{result="success"} 1'


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    """An S3 service outside: the gateway's own embedded store, one of whose buckets is the real one here."""
    target = servers.dev(tmp_path_factory.mktemp("upstream") / "dev")
    yield target
    target.stop()


@pytest.fixture
def volume(tmp_path):
    """A new volume, as the image says it is to be."""
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def configuration(tmp_path):
    """The folder that is mounted where commands look for config.toml, if there is to be one."""
    return tmp_path / "configuration"


@pytest.fixture
def given(tmp_path, upstream):
    """Secrets that only the container's user may read."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    values = {
        "admin-token": secrets.token_urlsafe(36),
        "upstream-secret": upstream.users["alice"].secret_key,
        "master-key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "users-secret": secrets.token_urlsafe(30),
    }
    for name, value in values.items():
        (folder / name).write_text(value + "\n")
        (folder / name).chmod(0o400)
    return folder


def test_the_image_says_how_it_is_to_be_run(buildah, image):
    config = buildah.config(image)
    package = tomllib.loads((images.ROOT / "Cargo.toml").read_text())["package"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["version"] == package["version"]
    assert labels["licenses"] == package["license"]
    assert labels["description"] == package["description"]
    assert (labels["revision"], labels["source"]) == (images.COMMIT, images.SOURCE)
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == [PROGRAM] and config["Cmd"] == ["serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", PROGRAM, "healthcheck"]
    assert list(config["Volumes"]) == [VOLUME]
    assert list(config["ExposedPorts"]) == ["8080/tcp"]


def test_only_the_volume_belongs_to_its_user(container):
    made = container()
    owned = [path for path in made.root.rglob("*") if os.lstat(path).st_uid == made.user]
    assert [f"/{path.relative_to(made.root)}" for path in owned] == [VOLUME]
    loose = [path for path in made.root.rglob("*") if not path.is_symlink() and os.lstat(path).st_mode & 0o002]
    assert [path.name for path in loose] == ["tmp"]


def test_without_configuration_it_says_what_is_missing(container):
    ended = container().run()
    assert ended.returncode == 78
    for key in ("upstream.namespace", "upstream.region", "upstream.bucket", "upstream.access_key_id"):
        assert key in ended.stderr.decode(), ended.stderr.decode()


def by_variables(upstream, listen, admin):
    """Everything by environment, but users, who are arrays: they live in the state store."""
    return {
        "BUCKETWARDEN_SERVER__LISTEN": listen,
        "BUCKETWARDEN_ADMIN__LISTEN": admin,
        "BUCKETWARDEN_ADMIN__TOKEN_FILE": f"{SECRETS}/admin-token",
        "BUCKETWARDEN_UPSTREAM__DIALECT": "s3",
        "BUCKETWARDEN_UPSTREAM__ENDPOINT": upstream.endpoint,
        "BUCKETWARDEN_UPSTREAM__REGION": upstream.region,
        "BUCKETWARDEN_UPSTREAM__BUCKET": upstream.datasets,
        "BUCKETWARDEN_UPSTREAM__ACCESS_KEY_ID": upstream.access_key,
        "BUCKETWARDEN_UPSTREAM__SECRET_ACCESS_KEY_FILE": f"{SECRETS}/upstream-secret",
        "BUCKETWARDEN_AUTH__MASTER_KEY_FILE": f"{SECRETS}/master-key",
    }


def by_file(upstream, listen, admin):
    """The same as a file, with a user in it. The health check learns the admin address by variable."""
    text = f"""
        [server]
        listen = "{listen}"
        [admin]
        token_file = "{SECRETS}/admin-token"
        [upstream]
        dialect = "s3"
        endpoint = "{upstream.endpoint}"
        region = "{upstream.region}"
        bucket = "{upstream.datasets}"
        access_key_id = "{upstream.access_key}"
        secret_access_key_file = "{SECRETS}/upstream-secret"
        [auth]
        master_key_file = "{SECRETS}/master-key"
        [state]
        url = "redb:{VOLUME}/state.redb"
    """
    return text + user("carol"), {"BUCKETWARDEN_ADMIN__LISTEN": admin}


def user(name):
    return f"""
        [[users]]
        id = "{name}"
        access_keys = [{{ id = "{name.upper()}KEY", secret_file = "{SECRETS}/users-secret" }}]
    """


@pytest.fixture(params=["by variables", "by a file"])
def gateway(request, container, upstream, given, volume, configuration, tmp_path):
    """A running container, and carol, who is known to it."""
    real = upstream.users["alice"]
    listen, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    mounts = [(volume, VOLUME, "rw"), (given, SECRETS, "ro")]
    if request.param == "by variables":
        variables = by_variables(real, listen, admin)
    else:
        text, variables = by_file(real, listen, admin)
        configuration.mkdir()
        (configuration / "config.toml").write_text(text)
        mounts.append((configuration, "/etc/bucketwarden", "ro"))
    running = container(mounts=mounts, **variables)
    for path in (volume, given, *given.iterdir()):
        os.chown(path, running.user, running.group)
    running.start(tmp_path)
    if request.param == "by variables":
        operator = {
            "BUCKETWARDEN_ADMIN_URL": f"http://{admin}",
            "BUCKETWARDEN_ADMIN_TOKEN": (given / "admin-token").read_text().strip(),
        }
        added = running.execute(PROGRAM, "user", "add", "carol", **operator)
        assert added.returncode == 0, added.stderr
        made = running.execute(PROGRAM, "key", "create", "carol", "--json", **operator)
        key = json.loads(made.stdout)
        pair = (key["access_key_id"], key["secret_access_key"])
    else:
        pair = ("CAROLKEY", (given / "users-secret").read_text().strip())
    carol = User("carol", *pair, f"http://{listen}", real.region, {"datasets": "datasets"})
    return running, carol


def test_an_object_goes_through_and_it_drains(gateway, upstream, volume, tmp_path):
    running, carol = gateway
    home = tmp_path / "home"
    home.mkdir()
    aws = Command((servers.program("aws"), "s3"), carol.environment(home), home)
    data = content(9 * MIB, seed=1)  # in parts
    (home / "up").write_bytes(data)
    aws("cp", "up", "s3://datasets/first/up")
    aws("cp", "s3://datasets/first/up", "down")
    assert (home / "down").read_bytes() == data
    real = upstream.users["alice"].s3().list_objects_v2(Bucket="datasets", Prefix="datasets/carol/first/")
    assert [found["Key"] for found in real["Contents"]] == ["datasets/carol/first/up"]
    aws("rm", "s3://datasets/first/up")

    status = status_lines(running.pid)
    assert status["Uid"].split() == ["65532"] * 4 and status["Groups"].strip() == ""
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NSpid"].split()[-1] == "1"
    mounted = mounts_of(running.pid)
    writable = {place for place, options in mounted.items() if "rw" in options.split(",")}
    assert "rw" not in mounted["/"].split(",") and writable <= {VOLUME, "/proc", "/dev", "/dev/null"}
    assert [path.name for path in volume.iterdir()] == ["state.redb"]

    assert running.stop() == 0, running.server.log_tail()
    assert "drained" in running.server.log_tail()
    assert status_of(carol.endpoint) is None


def test_the_health_check_fails_where_nobody_is_ready(gateway):
    running, _ = gateway
    (free,) = free_ports(1)
    asked = running.execute(*running.health[1:], BUCKETWARDEN_ADMIN__LISTEN=f"127.0.0.1:{free}")
    assert asked.returncode == 1 and b"no gateway at" in asked.stderr


@pytest.mark.parametrize("gateway", ["by a file"], indirect=True)
def test_a_file_put_in_the_place_of_another_is_seen_by_a_reload(gateway, configuration):
    running, carol = gateway
    dave = replace(carol, name="dave", access_key="DAVEKEY", _clients={})
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        dave.s3().list_objects_v2(Bucket="datasets")
    changed = configuration / "config.toml.new"
    changed.write_text((configuration / "config.toml").read_text() + user("dave"))
    changed.rename(configuration / "config.toml")
    os.kill(running.pid, signal.SIGHUP)
    metrics = f"http://{running.environment['BUCKETWARDEN_ADMIN__LISTEN']}/metrics"
    poll(lambda: RELOADED in text_of(metrics), 10, "the reload")
    assert dave.s3().list_objects_v2(Bucket="datasets")["KeyCount"] == 0


def text_of(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def status_lines(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def mounts_of(pid):
    """Where something is mounted, as that process sees it, and how."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return {line.split()[4]: line.split()[5] for line in lines}
