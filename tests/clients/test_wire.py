"""What no SDK would do: wrong keys, wrong clocks, and clients that leave in the middle."""

import datetime

import pytest
from botocore.exceptions import ClientError

from corpus import MIB, content
from processes import poll
from raw import SignedRequest
from users import error_code

pytestmark = [pytest.mark.everywhere, pytest.mark.gateway_only]


def test_unknown_keys(stranger):
    with pytest.raises(ClientError) as error:
        stranger.s3().list_buckets()
    assert error_code(error) == (403, "InvalidAccessKeyId")


def test_a_wrong_secret(alice):
    with pytest.raises(ClientError) as error:
        alice.s3(secret_key="not her secret").list_objects_v2(Bucket="datasets")
    assert error_code(error) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_wrong_clock(alice, minutes):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    status, _, body = SignedRequest(alice, "GET", "datasets", at=at).send()
    assert (status, b"<Code>RequestTimeTooSkewed</Code>" in body) == (403, True)


def test_errors_name_themselves(alice, folder):
    status, headers, body = SignedRequest(alice, "GET", "datasets", f"{folder}/none").send()
    assert (status, headers["content-type"]) == (404, "application/xml")
    for expected in ("<Code>NoSuchKey</Code>", f"<Resource>/datasets/{folder}/none</Resource>"):
        assert expected in body.decode()
    assert f"<RequestId>{headers['x-amz-request-id']}</RequestId>" in body.decode()
    status, headers, body = SignedRequest(alice, "HEAD", "datasets", f"{folder}/none").send()
    assert (status, body, headers["x-amz-error-code"]) == (404, b"", "NoSuchKey")
    assert headers["x-amz-request-id"]


def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_no_object(alice, target, folder):
    where = {"Bucket": "datasets", "Key": f"{folder}/half"}
    headers = {"Content-Length": str(8 * MIB)}
    connected = SignedRequest(alice, "PUT", where["Bucket"], where["Key"], headers=headers)
    with connected.connected() as connection:
        connection.sendall(connected.head() + content(3 * MIB))
    _settled(target)
    with pytest.raises(ClientError) as error:
        alice.s3().head_object(**where)
    assert error_code(error)[0] == 404


def test_a_client_that_leaves_in_the_middle_of_an_overwrite_changes_nothing(alice, target, folder):
    where = {"Bucket": "datasets", "Key": f"{folder}/kept"}
    alice.s3().put_object(**where, Body=b"kept")
    request = SignedRequest(alice, "PUT", where["Bucket"], where["Key"], headers={"Content-Length": "1000"})
    with request.connected() as connection:
        connection.sendall(request.head() + b"x" * 999)
    _settled(target)
    assert alice.s3().get_object(**where)["Body"].read() == b"kept"


def test_a_client_that_leaves_in_the_middle_of_a_part_leaves_no_part(alice, target, folder):
    s3, where = alice.s3(), {"Bucket": "datasets", "Key": f"{folder}/parts"}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    query = {"partNumber": "1", "uploadId": upload["UploadId"]}
    headers = {"Content-Length": str(6 * MIB)}
    request = SignedRequest(alice, "PUT", where["Bucket"], where["Key"], query, headers)
    with request.connected() as connection:
        connection.sendall(request.head() + content(5 * MIB))
    _settled(target)
    assert not s3.list_parts(**upload).get("Parts")
    s3.abort_multipart_upload(**upload)


def test_a_client_that_leaves_in_the_middle_of_a_download_harms_nobody(alice, target, folder):
    where, data = {"Bucket": "datasets", "Key": f"{folder}/read"}, content(16 * MIB)
    alice.s3().put_object(**where, Body=data)
    for _ in range(3):
        request = SignedRequest(alice, "GET", where["Bucket"], where["Key"])
        with request.connected() as connection:
            connection.sendall(request.head())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    _settled(target)
    assert alice.s3().get_object(**where)["Body"].read() == data


def _settled(target):
    poll(lambda: target.metric("bucketwarden_in_flight_requests") == 0, 30, "no request in flight")


def test_many_users_of_one_connection_pool(alice, bob, folder):
    """Kept-alive connections of two users do not mix."""
    for number in range(20):
        for user in (alice, bob):
            user.s3().put_object(Bucket="datasets", Key=f"{folder}/{number}", Body=user.name.encode())
    for number in range(20):
        for user in (alice, bob):
            assert user.s3().get_object(Bucket="datasets", Key=f"{folder}/{number}")["Body"].read() == user.name.encode()


def test_metrics_name_no_key_and_no_user(alice, target, folder):
    import urllib.request

    alice.s3().put_object(Bucket="datasets", Key=f"{folder}/unmetered-name", Body=b"x")
    with urllib.request.urlopen(f"{target.admin}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert "bucketwarden_requests_total" in text
    for private in ("unmetered-name", alice.access_key, 'user="alice"'):
        assert private not in text
