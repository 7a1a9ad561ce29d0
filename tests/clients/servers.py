"""The servers of the suite: the gateway as `dev` and as `serve`, and the S3 services that stand behind `serve`."""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path

from api_key import ApiKey
from certificate import certificate
from processes import Server, StartError, free_ports, own_environment, started, status_of
from users import User

REGION = "us-phoenix-1"  # in us-east-1 botocore presigns with SigV2 unless told otherwise
REAL_BUCKET = "real-bucket"
NAMESPACE = "axtestns0001"
UPSTREAM_KEYS = ("gateway-upstream-key", "gateway-upstream-secret-0123456789")
CLIENT_BUCKETS = ("datasets", "models", "logs")
VIEW = "aiserve-storage"  # where there is a view of the whole bucket
USERS = ("alice", "bob")
ISSUER, AUDIENCE = "https://login.example.test/", "bucketwarden"
TOKEN_SECRET = "a-secret-of-the-suite-that-signs-its-tokens"

UNLIMITED = {
    name: "unlimited"
    for name in (
        "max_storage max_file_size uploads_per_hour uploads_per_day requests_per_second "
        "upload_rate download_rate max_concurrent_requests max_open_multipart_uploads"
    ).split()
}


def program(name):
    """A program that was installed beside this Python, or else on the PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def gateway_binary():
    return os.environ["BUCKETWARDEN_BIN"]


def stand_in_binary():
    return os.environ["OCI_STAND_IN_BIN"]


# The shortest that there are: botocore then renews its keys for every request.
SHORT_SESSIONS = {"BUCKETWARDEN_AUTH__STS__DEFAULT_DURATION": "15m"}


@dataclass
class Upstream:
    """An S3 service, with the credentials that may do everything there."""

    kind: str
    endpoint: str
    server: Server
    leftovers: list = field(default_factory=list)

    def administrator(self, bucket=REAL_BUCKET):
        return User(
            name="administrator",
            access_key=UPSTREAM_KEYS[0],
            secret_key=UPSTREAM_KEYS[1],
            endpoint=self.endpoint,
            region=REGION,
            buckets={name: bucket for name in CLIENT_BUCKETS},
        )

    @property
    def dialect(self):
        """What `[upstream]` says of it besides region, bucket and keys."""
        return f'dialect = "s3"\nendpoint = "{self.endpoint}"\n'

    @property
    def native(self):
        """Its section of the configuration, where it has an API of its own."""
        return ""

    def stop(self):
        self.server.stop(politely=False)  # nobody wants its data, and SeaweedFS takes 15 s to part with it
        for path in self.leftovers:
            path.unlink(missing_ok=True)


@dataclass
class StandIn(Upstream):
    """OCI's stand-in. It has one bucket, which is there already."""

    secure_endpoint: str = ""
    authority: Path | None = None
    native_endpoint: str = ""
    api_key: ApiKey | None = None
    control: str = ""

    @property
    def dialect(self):
        where = f'endpoint = "{self.secure_endpoint}"\nca_file = "{self.authority}"\n'
        return f'dialect = "oci"\nnamespace = "{NAMESPACE}"\n{where}'

    @property
    def native(self):
        key = self.api_key
        return (
            f'[upstream.native]\ntenancy = "{key.tenancy}"\nuser = "{key.user}"\nfingerprint = "{key.fingerprint}"\n'
            f'key_file = "{key.private}"\nendpoint = "{self.native_endpoint}"\n'
        )

    def administrator(self, bucket=REAL_BUCKET):
        """With the settings that OCI needs of boto3."""
        when = dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")
        return replace(super().administrator(bucket), settings=when)

    def customer(self):
        """Somebody who speaks to it directly: by https, as OCI is reached, and with default settings."""
        return replace(super().administrator(), endpoint=self.secure_endpoint, authority=self.authority)

    def order(self, **orders):
        """What it does from now on; see tests/oci/steering.rs."""
        body = json.dumps(orders).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.control}/control", body, method="PUT"), timeout=5):
            pass

    def requests(self):
        """Every S3 request so far and its answer."""
        with urllib.request.urlopen(f"{self.control}/requests", timeout=5) as answer:
            return json.load(answer)


@dataclass
class Target:
    """What one run of a test talks to."""

    name: str
    kind: str  # dev, weed, moto or oci: whose behaviour shows
    direct: bool
    users: dict
    servers: list
    upstream: Upstream | None = None
    admin: str | None = None
    admin_token: str | None = None

    def stop(self):
        for server in self.servers:
            server.stop()

    def administer(self, method, path, document=None):
        """One call of the admin API; the document that it answers with, if any."""
        documents = self.administer_lines(method, path, document)
        return documents[0] if documents else None

    def administer_lines(self, method, path, document=None):
        request = urllib.request.Request(
            f"{self.admin}/api/v1/admin/{path}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={"Authorization": f"Bearer {self.admin_token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [json.loads(line) for line in answer]

    def set_limits(self, user, limits):
        self.administer("PUT", f"users/{user}", {"limits": limits})

    def is_etag_of_parts(self, etag, count):
        """OCI's are no digests: what the upstream says is what clients are told."""
        form = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}" if self.kind == "oci" else rf"[0-9a-f]{{32}}-{count}"
        return re.fullmatch(f'"{form}"', etag) is not None

    def metric(self, name):
        """The sum of a metric's series at the gateway."""
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if line.split("{")[0].split(" ")[0] == name]
        return sum(float(value) for value in values)


def seaweedfs(folder):
    """`weed server` with one S3 identity, so that signatures are checked."""
    identities = folder / "identities.json"
    identity = {
        "name": "gateway",
        "credentials": [{"accessKey": UPSTREAM_KEYS[0], "secretKey": UPSTREAM_KEYS[1]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    identities.write_text(json.dumps({"identities": [identity]}))
    # Read from the working folder: one small volume at a time for each bucket, not seven.
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    data = folder / "data"
    data.mkdir()

    def start():
        names = "master master.grpc volume volume.grpc filer filer.grpc s3 s3.grpc".split()
        ports = dict(zip(names, free_ports(len(names))))
        flags = [
            f"-{name.replace('.grpc', '')}.port{'.grpc' if name.endswith('.grpc') else ''}={port}"
            for name, port in ports.items()
        ]
        command = [
            program("weed"), "-logtostderr", "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", "-master.volumeSizeLimitMB=256", "-master.electionTimeout=1s",
            "-volume.max=100", "-volume.preStopSeconds=0", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={identities}", f"-dir={data}", *flags,
        ]  # fmt: skip
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        server = Server("weed", command, lambda: status_of(f"{endpoint}/healthz") == 200, folder)
        sockets = [
            Path(f"/tmp/seaweedfs-{name.replace('.', '-')}-{port}.sock") for name, port in ports.items()
        ]
        return Upstream("weed", endpoint, server, sockets)

    return started(start)


def moto(folder):
    """moto's server: forgets everything at its end, checks no signature, exact about content."""

    def start():
        (port,) = free_ports(1)
        endpoint = f"http://127.0.0.1:{port}"
        server = Server(
            "moto",
            [program("moto_server"), "-H", "127.0.0.1", "-p", port],
            lambda: status_of(f"{endpoint}/moto-api/") == 200,
            folder,
        )
        return Upstream("moto", endpoint, server)

    return started(start)


def oci(folder):
    """The stand-in for OCI: refuses whatever OCI refuses."""
    made, api_key = certificate(folder), ApiKey.made(folder)
    command = [
        stand_in_binary(), f"--folder={folder / 'store'}", f"--namespace={NAMESPACE}", f"--bucket={REAL_BUCKET}",
        f"--region={REGION}", "--home-region=us-ashburn-1", f"--secret-key={':'.join(UPSTREAM_KEYS)}",
        f"--tls-cert={made.chain}", f"--tls-key={made.key}", f"--api-key={api_key.id}={api_key.public}",
    ]  # fmt: skip
    log = folder / "oci.log"
    server = Server("oci", command, lambda: b"\n" in log.read_bytes(), folder)
    places = json.loads(log.read_text().splitlines()[0])
    return StandIn(
        "oci",
        places["s3"],
        server,
        secure_endpoint=places["s3_tls"],
        authority=made.authority,
        native_endpoint=places["native"],
        api_key=api_key,
        control=places["control"],
    )


UPSTREAMS = {"weed": seaweedfs, "moto": moto, "oci": oci}


def upstream(kind, folder):
    folder.mkdir()
    service = UPSTREAMS[kind](folder)
    if kind == "oci":
        return service
    _make_bucket(service, REAL_BUCKET)
    # SeaweedFS makes its volumes at the first write, in seconds that no test should be charged with.
    real = {"Bucket": REAL_BUCKET, "Key": "first"}
    service.administrator().s3().put_object(**real, Body=b"x")
    service.administrator().s3().delete_object(**real)
    return service


def direct(kind, folder):
    """The upstream itself, each user with buckets of their own: what it does wrong is not the gateway's."""
    service = upstream(kind, folder)
    users = {}
    for name in USERS:
        buckets = {bucket: f"{bucket}-{name}" for bucket in CLIENT_BUCKETS}
        for bucket in buckets.values():
            _make_bucket(service, bucket)
        users[name] = User(name, *UPSTREAM_KEYS, service.endpoint, REGION, buckets)
    return Target(f"{kind}-direct", kind, True, users, [service], upstream=service)


def dev(folder):
    """`bucketwarden dev`: gateway and store in one process, keys from the dev.env that it writes."""
    folder.mkdir()
    data = folder / "data"

    def start():
        listen, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
        command = [gateway_binary(), "dev", "--listen", listen, "--admin-listen", admin, "--data", data]
        ready = lambda: status_of(f"http://{admin}/readyz") == 200
        return Server("dev", command, ready, folder, own_environment(folder, **SHORT_SESSIONS))

    server = started(start)
    values = shell_variables(data / "dev.env", folder)
    endpoint, region = values["AWS_ENDPOINT_URL"], values["AWS_REGION"]
    keys = {
        "alice": (values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"]),
        "bob": (values["BOB_ACCESS_KEY_ID"], values["BOB_SECRET_ACCESS_KEY"]),
    }
    users = {
        name: User(name, *pair, endpoint, region, _own_buckets(), token=values[f"{name.upper()}_TOKEN"])
        for name, pair in keys.items()
    }
    admin, admin_token = values["BUCKETWARDEN_ADMIN_URL"], values["BUCKETWARDEN_ADMIN_TOKEN"]
    target = Target("dev", "dev", False, users, [server], admin=admin, admin_token=admin_token)
    for name in USERS:
        target.set_limits(name, UNLIMITED)
    return target


def serve(kind, folder, variant="", service=None):
    """`bucketwarden serve` in front of an S3 service. A variant is `tls`, `throttled`: by every third answer of the
    upstream, or `view`: with the platform's view of the bucket."""
    tls, view = variant == "tls", variant == "view"
    folder.mkdir()
    servers = []
    if service is None:
        service = upstream(kind, folder / "upstream")
        servers.append(service)
    keys = {name: (f"AKIA{name.upper()}{secrets.token_hex(6).upper()}", secrets.token_urlsafe(30)) for name in USERS}
    admin_token = secrets.token_urlsafe(36)
    authority = None
    if tls:
        made = certificate(folder)
        authority = made.authority

    def start():
        listen, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
        config = folder / "config.toml"
        config.write_text(_configuration(listen, admin, admin_token, service, keys, made if tls else None, view))
        gateway = Server(
            "serve",
            [gateway_binary(), "serve", "--config", config],
            lambda: status_of(f"http://{admin}/readyz") == 200,
            folder,
            own_environment(folder, **SHORT_SESSIONS),
        )
        return gateway, f"{'https' if tls else 'http'}://{listen}", f"http://{admin}"

    try:
        gateway, endpoint, admin = started(start)
    except StartError:
        for server in servers:
            server.stop()
        raise
    users = {
        name: User(name, *pair, endpoint, REGION, _own_buckets(), authority, token(name))
        for name, pair in keys.items()
    }
    if variant == "throttled":
        service.order(throttle_every=3)
        for user in users.values():
            user.tries_again = True
    name = "-".join([kind, *[variant] * bool(variant)])
    running = [gateway, *servers]
    return Target(name, kind, False, users, running, upstream=service, admin=admin, admin_token=admin_token)


def token(user):
    """A JWT that the gateways of the suite take for this user's."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now, "exp": now + 24 * 60 * 60}
    encode = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")
    message = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return (message + b"." + encode(hmac.digest(TOKEN_SECRET.encode(), message, hashlib.sha256))).decode()


def shell_variables(path, home):
    """The variables of a shell file, read as its users read it: by a shell."""
    script = 'set -a; . "$1"; exec env -0'
    printed = subprocess.run(
        ["sh", "-c", script, "sh", str(path)], env=own_environment(home), capture_output=True, check=True
    ).stdout
    return dict(pair.split("=", 1) for pair in printed.decode().split("\0") if pair)


def _own_buckets():
    return {name: name for name in CLIENT_BUCKETS}


def _make_bucket(service, name):
    where = {"LocationConstraint": REGION}
    service.administrator(name).s3().create_bucket(Bucket=name, CreateBucketConfiguration=where)


def _configuration(listen, admin, admin_token, service, keys, made, view):
    """The configuration file of `serve`: no limit stands in the suite's way."""
    tls = f'[server.tls]\ncert = "{made.chain}"\nkey = "{made.key}"\n' if made else ""
    view = f'[[buckets]]\nname = "{VIEW}"\nview = "platform"\n' if view else ""
    limits = "".join(f"{name} = {json.dumps(value)}\n" for name, value in UNLIMITED.items())
    users = "".join(
        f'[[users]]\nid = "{name}"\ntier = "default"\nrole = "user"\n'
        f'access_keys = [{{ id = "{access_key}", secret = "{secret_key}" }}]\n'
        for name, (access_key, secret_key) in keys.items()
    )
    return f"""\
[server]
listen = "{listen}"
{tls}
[admin]
listen = "{admin}"
token = "{admin_token}"

[upstream]
{service.dialect}region = "{REGION}"
bucket = "{REAL_BUCKET}"
access_key_id = "{UPSTREAM_KEYS[0]}"
secret_access_key = "{UPSTREAM_KEYS[1]}"
{service.native}
[auth]
master_key = "{base64.b64encode(secrets.token_bytes(32)).decode()}"

[[auth.jwt]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
hs256_secret = "{TOKEN_SECRET}"

[[buckets]]
name = "datasets"
prefix = "datasets/{{user_id}}/"
[[buckets]]
name = "models"
prefix = "models/{{user_id}}/"
[[buckets]]
name = "logs"
prefix = "logs/training/"
scope = "job"
access = "read-only"
counts_towards_quota = false
{view}
[tiers.default]
{limits}
[state]
url = "redb:./state.redb"

[log]
format = "text"
level = "info"

{users}"""
