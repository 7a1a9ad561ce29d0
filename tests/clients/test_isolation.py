"""Two users never see each other, and what they put lies where the platform looks for it."""

import pytest
from botocore.exceptions import ClientError

from corpus import content, odd_key
from known_upstream import holdable
from users import error_code

pytestmark = pytest.mark.gateway_only


@pytest.fixture
def hers(alice, folder):
    """An object of alice's."""
    where = {"Bucket": "datasets", "Key": f"{folder}/hers"}
    alice.s3().put_object(**where, Body=b"alice's")
    return where


def test_one_name_two_objects(alice, bob, hers):
    bob.s3().put_object(**hers, Body=b"bob's")
    assert alice.s3().get_object(**hers)["Body"].read() == b"alice's"
    assert bob.s3().get_object(**hers)["Body"].read() == b"bob's"
    bob.s3().delete_object(**hers)
    assert alice.s3().get_object(**hers)["Body"].read() == b"alice's"


def test_reading(bob, hers):
    with pytest.raises(ClientError) as error:
        bob.s3().get_object(**hers)
    assert error_code(error) == (404, "NoSuchKey")
    with pytest.raises(ClientError) as error:
        bob.s3().head_object(**hers)
    assert error_code(error)[0] == 404


def test_listing(bob, hers, folder):
    s3 = bob.s3()
    assert "Contents" not in s3.list_objects_v2(Bucket="datasets", Prefix=folder)
    assert "Contents" not in s3.list_objects(Bucket="datasets", Prefix=folder)
    for prefix in ("", "alice", "alice/", "datasets/alice/", "datasets/", "/", "../alice/", "../"):
        for listing in (s3.list_objects_v2, s3.list_objects):
            try:
                answer = listing(Bucket="datasets", Prefix=prefix)
            except ClientError:
                continue  # refused is as good
            assert not any("hers" in entry["Key"] for entry in answer.get("Contents", []))
    assert "CommonPrefixes" not in s3.list_objects_v2(Bucket="datasets", Delimiter="/", Prefix="alice")


def test_listing_with_anothers_token(alice, bob, folder):
    for number in range(3):
        alice.s3().put_object(Bucket="datasets", Key=f"{folder}/{number}", Body=b"x")
    token = alice.s3().list_objects_v2(Bucket="datasets", Prefix=f"{folder}/", MaxKeys=1)["NextContinuationToken"]
    assert "alice" not in token
    with pytest.raises(ClientError) as error:
        bob.s3().list_objects_v2(Bucket="datasets", Prefix=f"{folder}/", ContinuationToken=token)
    assert error_code(error) == (400, "InvalidArgument")


def test_copying(alice, bob, hers, folder):
    s3, to = bob.s3(), {"Bucket": "datasets", "Key": f"{folder}/stolen"}
    sources = [
        hers,
        {"Bucket": "datasets", "Key": f"alice/{hers['Key']}"},
        {"Bucket": "datasets", "Key": f"../alice/{hers['Key']}"},
        {"Bucket": "datasets", "Key": f"datasets/alice/{hers['Key']}"},
        {"Bucket": "real-bucket", "Key": f"datasets/alice/{hers['Key']}"},
    ]
    upload = s3.create_multipart_upload(**to)["UploadId"]
    for source in sources:
        for copy in (
            lambda: s3.copy_object(**to, CopySource=source),
            lambda: s3.upload_part_copy(**to, UploadId=upload, PartNumber=1, CopySource=source),
        ):
            with pytest.raises(ClientError) as error:
                copy()
            assert error_code(error)[0] in (400, 403, 404)
    s3.abort_multipart_upload(**to, UploadId=upload)
    assert alice.s3().get_object(**hers)["Body"].read() == b"alice's"


def test_deleting(alice, bob, hers):
    bob.s3().delete_object(**hers)
    bob.s3().delete_objects(
        Bucket="datasets",
        Delete={"Objects": [{"Key": hers["Key"]}, {"Key": f"alice/{hers['Key']}"}]},
    )
    assert alice.s3().get_object(**hers)["Body"].read() == b"alice's"


def test_uploads(alice, bob, hers, folder):
    s3, where = alice.s3(), {"Bucket": "datasets", "Key": f"{folder}/upload"}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"alice's")["ETag"]}
    other = bob.s3()
    assert not other.list_multipart_uploads(Bucket="datasets").get("Uploads")
    for operation in (
        lambda: other.upload_part(**upload, PartNumber=1, Body=b"bob's"),
        lambda: other.upload_part_copy(**upload, PartNumber=1, CopySource=hers),
        lambda: other.list_parts(**upload),
        lambda: other.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]}),
        lambda: other.abort_multipart_upload(**upload),
    ):
        with pytest.raises(ClientError) as error:
            operation()
        assert error_code(error)[0] == 404
        assert error_code(error)[1] in ("NoSuchUpload", "NoSuchKey")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    assert s3.get_object(**where)["Body"].read() == b"alice's"
    with pytest.raises(ClientError):
        other.head_object(**where)


@pytest.fixture
def real(target):
    """The upstream's own view of the real bucket."""
    if not target.upstream:
        pytest.skip("dev's store is inside the gateway's process")
    return target.upstream.administrator().s3()


def test_objects_lie_under_their_users_prefix(alice, bob, real, folder):
    for user in (alice, bob):
        for bucket in ("datasets", "models"):
            data = f"{user.name} {bucket}".encode()
            user.s3().put_object(Bucket=bucket, Key=f"{folder}/ds1/data.csv", Body=data, Metadata={"who": user.name})
            there = real.get_object(Bucket="real-bucket", Key=f"{bucket}/{user.name}/{folder}/ds1/data.csv")
            assert (there["Body"].read(), there["Metadata"]) == (data, {"who": user.name})


def test_odd_keys_lie_there_byte_for_byte(alice, target, real, folder):
    keys = [odd_key(name, folder) for name in holdable(target.kind)]
    for key in keys:
        alice.s3().put_object(Bucket="models", Key=key, Body=b"x")
    prefix = "models/alice/"
    listed = real.list_objects_v2(Bucket="real-bucket", Prefix=f"{prefix}{folder}/")["Contents"]
    assert sorted(found["Key"] for found in listed) == sorted(prefix + key for key in keys)


def test_what_the_platform_put_is_seen(alice, bob, real, folder):
    key, data = f"{folder}/by platform+%é", content(1000)
    real.put_object(Bucket="real-bucket", Key=f"datasets/alice/{key}", Body=data)
    assert alice.s3().get_object(Bucket="datasets", Key=key)["Body"].read() == data
    assert [found["Key"] for found in alice.s3().list_objects_v2(Bucket="datasets", Prefix=folder)["Contents"]] == [key]
    assert "Contents" not in bob.s3().list_objects_v2(Bucket="datasets", Prefix=folder)


def test_users_whose_names_begin_alike(alice, real, folder):
    real.put_object(Bucket="real-bucket", Key=f"datasets/alice2/{folder}/x", Body=b"x")
    real.put_object(Bucket="real-bucket", Key=f"datasets/alic/{folder}/x", Body=b"x")
    names = [
        found["Key"]
        for page in alice.s3().get_paginator("list_objects_v2").paginate(Bucket="datasets")
        for found in page.get("Contents", [])
    ]
    assert not [name for name in names if folder in name]
