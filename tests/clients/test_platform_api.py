"""`/api/v1` beside boto3: objects by URI, recursive deletes, presigned URLs. The calls are signed by botocore and sent
by urllib, as a platform's own scripts would."""

import json
import ssl
import time
import urllib.error
import urllib.request
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from corpus import content, odd_key

pytestmark = [pytest.mark.everywhere, pytest.mark.gateway_only]


def opened(user, request):
    """Status, headers and body, whatever the status."""
    trust = ssl.create_default_context(cafile=user.authority) if user.authority else None
    try:
        with urllib.request.urlopen(request, context=trust, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.status, refused.headers, refused.read()


def call(user, method, path, document=None, **headers):
    """One call of the API, signed with the user's access key."""
    body = json.dumps(document).encode() if document is not None else None
    request = AWSRequest(method, f"{user.endpoint}/api/v1/{path}", data=body, headers=headers)
    S3SigV4Auth(Credentials(user.access_key, user.secret_key), "s3", user.region).add_auth(request)
    sent = urllib.request.Request(request.url, data=body, headers=dict(request.headers), method=method)
    return opened(user, sent)


def presign(user, **wanted):
    status, _, body = call(user, "POST", "presign", wanted)
    assert status == 200, body
    document = json.loads(body)
    assert document.keys() == {"url", "method", "expires_at"}
    return document


def by_url(user, method, url, body=None, **headers):
    return opened(user, urllib.request.Request(url, data=body, headers=headers, method=method))


def used(user):
    status, _, body = call(user, "GET", "quota")
    assert status == 200, body
    return json.loads(body)["storage"]["used_bytes"]


@pytest.mark.parametrize("name", ["plain", "space", "plus", "escaped-percent", "double-slash", "punctuation"])
def test_an_object_by_the_uri_that_boto3_was_told(alice, folder, name):
    where, data = {"Bucket": alice.datasets, "Key": odd_key(name, folder)}, content(100_000)
    put = alice.s3().put_object(**where, Body=data)
    uri = put["ResponseMetadata"]["HTTPHeaders"]["x-bucketwarden-uri"]
    path = f"objects?uri={quote(uri, safe='')}"
    status, headers, body = call(alice, "GET", path)
    assert (status, body, headers["etag"]) == (200, data, put["ETag"])
    status, headers, body = call(alice, "GET", path, range="bytes=10-19")
    assert (status, body) == (206, data[10:20])
    assert call(alice, "GET", path, **{"if-none-match": put["ETag"]})[0] == 304
    status, headers, _ = call(alice, "HEAD", path)
    assert (status, headers["content-length"]) == (200, "100000")
    assert call(alice, "DELETE", path)[0] == 204
    status, headers, body = call(alice, "GET", path)
    assert (status, headers["content-type"], json.loads(body).keys()) == (404, "application/json", {"error"})


def test_somebody_elses_object_is_no_object(alice, bob, folder):
    where = {"Bucket": alice.datasets, "Key": f"{folder}/mine"}
    uri = alice.s3().put_object(**where, Body=b"x")["ResponseMetadata"]["HTTPHeaders"]["x-bucketwarden-uri"]
    foreign, missing = (
        call(bob, "GET", f"objects?uri={quote(it, safe='')}") for it in (uri, uri.replace("mine", "none"))
    )
    assert (foreign[0], foreign[2]) == (missing[0], missing[2]) and foreign[0] == 404
    assert call(bob, "DELETE", f"objects?uri={quote(uri, safe='')}")[0] == 404
    assert alice.s3().get_object(**where)["Body"].read() == b"x"


def test_a_dataset_goes_as_a_whole(alice, folder):
    s3, before = alice.s3(), used(alice)
    for n in range(20):
        s3.put_object(Bucket=alice.datasets, Key=f"{folder}/part/{n}", Body=bytes(n))
    s3.put_object(Bucket=alice.datasets, Key=f"{folder}0", Body=b"beside it")
    status, _, body = call(alice, "DELETE", f"datasets/{folder}")
    assert (status, json.loads(body)) == (200, {"deleted_objects": 20, "freed_bytes": sum(range(20))})
    assert "Contents" not in s3.list_objects_v2(Bucket=alice.datasets, Prefix=f"{folder}/")
    assert used(alice) == before + len(b"beside it")
    status, _, body = call(alice, "DELETE", f"datasets/{folder}")
    assert (status, json.loads(body)) == (200, {"deleted_objects": 0, "freed_bytes": 0})
    s3.delete_object(Bucket=alice.datasets, Key=f"{folder}0")


def test_a_presigned_url_needs_no_library(alice, folder):
    where, data = {"bucket": alice.models, "key": f"{folder}/a b+c.onnx"}, content(200_000)
    put = presign(alice, method="PUT", **where, expires_in=300)
    assert by_url(alice, "PUT", put["url"], data, **{"content-type": "application/octet-stream"})[0] == 200
    got = presign(alice, method="GET", **where)
    assert by_url(alice, "GET", got["url"])[::2] == (200, data)
    assert by_url(alice, "GET", got["url"], range="bytes=5-9")[::2] == (206, data[5:10])
    left = time.mktime(time.strptime(got["expires_at"], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
    assert 86_000 < left <= 86_400
    # It is good for its own method and key, and for nothing else.
    assert by_url(alice, "DELETE", got["url"])[0] == 403
    assert by_url(alice, "PUT", got["url"], b"x")[0] == 403
    assert by_url(alice, "GET", got["url"].replace("onnx", "bin"))[0] == 403
    assert by_url(alice, "GET", f"{alice.endpoint}/api/v1/quota?{urlsplit(got['url']).query}")[0] == 401
    assert by_url(alice, "HEAD", presign(alice, method="HEAD", **where)["url"])[0] == 200
    assert by_url(alice, "DELETE", presign(alice, method="DELETE", **where)["url"])[0] == 204
    assert by_url(alice, "GET", got["url"])[0] == 404


def test_a_presigned_url_expires(alice, folder):
    alice.s3().put_object(Bucket=alice.datasets, Key=f"{folder}/brief", Body=b"x")
    url = presign(alice, bucket=alice.datasets, key=f"{folder}/brief", expires_in=1)["url"]
    deadline = time.monotonic() + 30
    while by_url(alice, "GET", url)[0] == 200:
        assert time.monotonic() < deadline
    status, _, body = by_url(alice, "GET", url)
    assert status in (400, 403) and (b"expired" in body)


@pytest.mark.parametrize("expires_in", [0, 604_801, -1, 1.5, "60"])
def test_times_that_no_url_has(alice, expires_in):
    wanted = {"bucket": alice.datasets, "key": "k", "expires_in": expires_in}
    assert call(alice, "POST", "presign", wanted)[0] == 400
