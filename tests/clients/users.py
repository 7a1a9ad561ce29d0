"""A user of the gateway as the clients under test see one."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config

from processes import own_environment

COMMAND_DEADLINE = 300


@dataclass
class User:
    name: str
    access_key: str
    secret_key: str
    endpoint: str
    region: str
    buckets: dict  # the client's bucket name at this target
    authority: Path | None = None  # whom to trust over https
    token: str = ""  # a JWT of theirs
    answer_check: object = None
    tries_again: bool = False
    settings: dict = field(default_factory=dict)  # of boto3, where its own will not do
    _clients: dict = field(default_factory=dict)

    @property
    def datasets(self):
        return self.buckets["datasets"]

    @property
    def models(self):
        return self.buckets["models"]

    @property
    def logs(self):
        return self.buckets["logs"]

    @property
    def secure(self):
        return self.endpoint.startswith("https:")

    @property
    def address(self):
        return self.endpoint.split("://", 1)[1]

    def s3(self, access_key=None, secret_key=None, **config):
        """boto3 at its default settings, but for `config`, and that it tries once: a retry hides what it is there for.
        Where the upstream throttles it may try thrice, which is less often than it would by itself."""
        wanted = (access_key, secret_key, tuple(sorted(config.items())))
        retries = {"total_max_attempts": 3 if self.tries_again else 1}
        if wanted not in self._clients:
            client = boto3.session.Session().client(
                "s3",
                endpoint_url=self.endpoint,
                region_name=self.region,
                aws_access_key_id=access_key or self.access_key,
                aws_secret_access_key=secret_key or self.secret_key,
                verify=str(self.authority) if self.authority else None,
                config=Config(retries=retries, **self.settings, **config),
            )
            client.meta.events.register("response-received.s3", self._check_answer)
            self._clients[wanted] = client
        return self._clients[wanted]

    def plain_listing_s3(self):
        """A client that asks for no encoding-type (boto3 asks for url unless told otherwise)."""
        if "plain" not in self._clients:
            shared = self._clients
            self._clients = {}
            client = self.s3()
            self._clients = shared
            for operation, handler in _LISTING_HANDLERS.items():
                client.meta.events.unregister(f"before-parameter-build.s3.{operation}", handler)
            self._clients["plain"] = client
        return self._clients["plain"]

    def _check_answer(self, response_dict=None, **_):
        if self.answer_check and response_dict:
            self.answer_check(self, response_dict["headers"], response_dict["body"])

    def environment(self, home, **more):
        """The environment of a command-line client."""
        own = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }
        if self.authority:
            own["AWS_CA_BUNDLE"] = self.authority
        return own_environment(home, **own, **more)


@dataclass(frozen=True)
class Command:
    """A command-line client: words in, text out; a failure carries what the client said."""

    words: tuple
    environment: dict
    folder: Path

    def __call__(self, *words, stdin=None, fails=False):
        done = self.run(*words, stdin=stdin)
        said = f"{done.args}\nexit {done.returncode}\n{done.stdout[-3000:]!r}\n{done.stderr[-3000:].decode()}"
        assert (done.returncode != 0) == fails, said
        return done.stdout.decode() + (done.stderr.decode() if fails else "")

    def run(self, *words, stdin=None):
        """`stdin` is bytes or an open file."""
        source = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin or subprocess.DEVNULL}
        return subprocess.run(
            [*self.words, *(str(word) for word in words)],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            timeout=COMMAND_DEADLINE,
            check=False,
            **source,
        )

    def bytes(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def _listing_handlers():
    from botocore import handlers

    return {
        "ListObjects": handlers.set_list_objects_encoding_type_url,
        "ListObjectsV2": handlers.set_list_objects_encoding_type_url,
        "ListObjectVersions": handlers.set_list_objects_encoding_type_url,
    }


_LISTING_HANDLERS = _listing_handlers()


def error_code(error):
    """What a boto3 ClientError says: status and code."""
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]
