"""A client of the suite's own for what no SDK would send: botocore signs, this writes the bytes."""

import datetime
import http.client
import socket
import ssl
from urllib.parse import quote, urlencode

import botocore.auth
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

UNSIGNED = "UNSIGNED-PAYLOAD"


class SignedRequest:
    """Method, raw path and headers of a request signed by a user, now or at `at`."""

    def __init__(self, user, method, bucket, key="", query=None, headers=None, at=None):
        path = f"/{quote(bucket, safe='~')}" + (f"/{quote(key, safe='/~')}" if key else "")
        query = urlencode(query or {}, quote_via=quote)
        self.user, self.method = user, method
        self.path = f"{path}?{query}" if query else path
        request = self._request(headers)
        with _clock(at):
            _Signer(self._credentials(), "s3", user.region).add_auth(request)
        self.headers = dict(request.headers.items())

    def _request(self, headers):
        wanted = {"Host": self.user.address, **(headers or {})}
        return AWSRequest(self.method, self.user.endpoint + self.path, headers=wanted)

    def _credentials(self):
        return Credentials(self.user.access_key, self.user.secret_key)

    def send(self, body=b""):
        """Status, headers in lower case, body."""
        connection = http.client.HTTPConnection(self.user.address, timeout=60)
        connection.sock = self.connected()
        try:
            connection.request(self.method, self.path, body or None, self.headers)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def connected(self):
        host, port = self.user.address.split(":")
        connected = socket.create_connection((host, int(port)), timeout=60)
        if self.user.secure:
            context = ssl.create_default_context(cafile=str(self.user.authority))
            connected = context.wrap_socket(connected, server_hostname=host)
        return connected

    def head(self):
        """The request head as bytes."""
        lines = [f"{self.method} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


def expired_url(user, method, bucket, key, age):
    """A presigned URL that was good for one second, `age` seconds ago."""
    request = AWSRequest(method, f"{user.endpoint}/{bucket}/{quote(key, safe='/~')}")
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
    credentials = Credentials(user.access_key, user.secret_key)
    with _clock(at):
        S3SigV4QueryAuth(credentials, "s3", user.region, expires=1).add_auth(request)
    return request.prepare().url


class _Signer(S3SigV4Auth):
    """Signs heads only: the payload stays unsigned over http too."""

    def payload(self, request):
        return UNSIGNED


class _clock:
    """botocore's signer at another time."""

    def __init__(self, at):
        self.at = at

    def __enter__(self):
        self.real = botocore.auth.get_current_datetime
        if self.at:
            botocore.auth.get_current_datetime = lambda remove_tzinfo=True: (
                self.at.replace(tzinfo=None) if remove_tzinfo else self.at
            )

    def __exit__(self, *_):
        botocore.auth.get_current_datetime = self.real
