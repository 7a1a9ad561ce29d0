"""URLs that boto3 presigned, used by curl."""

import pytest

from corpus import content, odd_key
from raw import expired_url

pytestmark = pytest.mark.everywhere

STATUS = ("--write-out", "\n%{http_code}")


def presigned(user, operation, **parameters):
    return user.s3().generate_presigned_url(operation, Params=parameters, ExpiresIn=300)


def asked(curl, *words):
    """Body and status of what curl asked for."""
    body, _, status = curl.bytes(*STATUS, *words).rpartition(b"\n")
    return body, int(status)


@pytest.mark.parametrize("name", ["plain", "space", "plus", "escaped-percent", "nfd", "double-slash", "punctuation"])
def test_put_and_get(alice, folder, curl, home, name):
    where, data = {"Bucket": alice.datasets, "Key": odd_key(name, folder)}, content(100_000)
    (home / "up").write_bytes(data)
    _, status = asked(curl, "--upload-file", "up", presigned(alice, "put_object", **where))
    assert status == 200
    body, status = asked(curl, presigned(alice, "get_object", **where))
    assert (body, status) == (data, 200)
    assert asked(curl, "--head", presigned(alice, "head_object", **where))[1] == 200


def test_put_of_a_type_that_was_signed(alice, folder, curl, home):
    where = {"Bucket": alice.datasets, "Key": f"{folder}/typed"}
    (home / "up").write_bytes(b"{}")
    url = presigned(alice, "put_object", **where, ContentType="application/json")
    assert asked(curl, "--upload-file", "up", "--header", "Content-Type: application/json", url)[1] == 200
    assert alice.s3().head_object(**where)["ContentType"] == "application/json"


def test_range_and_overrides(alice, folder, curl, home):
    where, data = {"Bucket": alice.datasets, "Key": f"{folder}/ranged"}, content(5000)
    alice.s3().put_object(**where, Body=data)
    url = presigned(alice, "get_object", **where, ResponseContentDisposition='attachment; filename="a b.bin"')
    body, status = asked(curl, "--range", "100-199", "--dump-header", "headers", url)
    assert (body, status) == (data[100:200], 206)
    assert 'attachment; filename="a b.bin"' in (home / "headers").read_text()


def test_a_curl_upload_of_some_mebibytes_asks_first(alice, folder, curl, home):
    """curl sends Expect: 100-continue by itself."""
    where, data = {"Bucket": alice.datasets, "Key": f"{folder}/big"}, content(5 << 20)
    (home / "up").write_bytes(data)
    assert asked(curl, "--upload-file", "up", presigned(alice, "put_object", **where))[1] == 200
    assert alice.s3().get_object(**where)["Body"].read() == data


def test_delete_and_list(alice, folder, curl):
    where = {"Bucket": alice.datasets, "Key": f"{folder}/gone"}
    alice.s3().put_object(**where, Body=b"x")
    listing = presigned(alice, "list_objects_v2", Bucket=alice.datasets, Prefix=f"{folder}/")
    assert b"gone</Key>" in asked(curl, listing)[0]
    assert asked(curl, "--request", "DELETE", presigned(alice, "delete_object", **where))[1] == 204
    assert b"gone</Key>" not in asked(curl, listing)[0]


@pytest.mark.gateway_only
def test_urls_are_good_for_what_was_signed_only(alice, bob, folder, curl, home):
    where = {"Bucket": alice.datasets, "Key": f"{folder}/mine"}
    alice.s3().put_object(**where, Body=b"mine")
    url = presigned(alice, "get_object", **where)
    refused = {
        "another key": url.replace("/mine?", "/yours?"),
        "another signature": url[:-4] + ("0000" if url[-4:] != "0000" else "1111"),
        "another user": url.replace(alice.access_key, bob.access_key),
        "one parameter more": f"{url}&response-content-type=text/html",
        "longer": url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"),
    }
    for what, other in refused.items():
        body, status = asked(curl, other)
        assert (status, b"SignatureDoesNotMatch" in body) == (403, True), what
    assert asked(curl, "--request", "DELETE", url)[1] == 403
    (home / "up").write_bytes(b"yours")
    assert asked(curl, "--upload-file", "up", url)[1] == 403
    assert asked(curl, url) == (b"mine", 200)


@pytest.mark.gateway_only
def test_an_expired_url(alice, folder, curl):
    where = {"Bucket": alice.datasets, "Key": f"{folder}/late"}
    alice.s3().put_object(**where, Body=b"late")
    body, status = asked(curl, expired_url(alice, "GET", where["Bucket"], where["Key"], age=60))
    assert status == 403
    assert b"<Code>AccessDenied</Code>" in body and b"Request has expired" in body


@pytest.mark.gateway_only
def test_curl_signs_for_itself(alice, folder, curl, home):
    data = content(70_000)
    (home / "up").write_bytes(data)
    url = f"{alice.endpoint}/{alice.datasets}/{folder}/by-curl"
    signed = (
        "--aws-sigv4", f"aws:amz:{alice.region}:s3", "--user", f"{alice.access_key}:{alice.secret_key}",
        "--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
    )  # fmt: skip
    assert asked(curl, *signed, "--upload-file", "up", url)[1] == 200
    assert asked(curl, *signed, url) == (data, 200)


@pytest.mark.gateway_only
def test_curl_without_a_signature(alice, folder, curl):
    for path in ("", "datasets", f"datasets/{folder}/x"):
        body, status = asked(curl, f"{alice.endpoint}/{path}")
        assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True), path
