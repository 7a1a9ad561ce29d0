"""What clients do by default and OCI refuses: it fails where they speak to OCI, and works through the gateway."""

import io
import json
from dataclasses import replace
from urllib.parse import quote

import pytest

from corpus import MIB, content
from users import Command

NO_CHUNKS = "AWS chunked encoding not supported"
NO_HEADER = "A header you provided implies functionality that is not implemented"
NO_DIGEST = "Missing required header for this request: Content-MD5"
NO_KEY = "The secret key required to complete authentication could not be found"


def boto3_puts(user, key, **_):
    user.s3().put_object(Bucket=user.datasets, Key=key, Body=b"x")


def boto3_puts_if_absent(user, key, **_):
    user.s3().put_object(Bucket=user.datasets, Key=key, Body=b"x", IfNoneMatch="*")


def boto3_uploads_in_parts(user, key, **_):
    user.s3().upload_fileobj(io.BytesIO(content(9 * MIB)), user.datasets, key)


def boto3_deletes_many(user, key, **_):
    answer = user.s3().delete_objects(Bucket=user.datasets, Delete={"Objects": [{"Key": key}, {"Key": f"{key}2"}]})
    assert len(answer["Deleted"]) == 2


def aws_cli_copies(user, key, command, home):
    (home / "up").write_bytes(b"x")
    command("aws", user=user)("s3", "cp", "up", f"s3://{user.datasets}/{key}")


def aws_cli_copies_in_parts(user, key, command, home):
    (home / "up").write_bytes(content(9 * MIB))
    command("aws", user=user)("s3", "cp", "up", f"s3://{user.datasets}/{key}")


def aws_cli_syncs(user, key, command, home):
    (home / "tree").mkdir(exist_ok=True)
    (home / "tree/a").write_bytes(b"a")
    command("aws", user=user)("s3", "sync", "tree", f"s3://{user.datasets}/{key}")


def aws_cli_deletes_many(user, key, command, home):
    which = f"Objects=[{{Key={key}}}]"
    command("aws", user=user)("s3api", "delete-objects", "--bucket", user.datasets, "--delete", which)


def s3fs_writes(user, key, **_):
    import s3fs

    more = {"region_name": user.region, "verify": str(user.authority)}
    filesystem = s3fs.S3FileSystem(
        key=user.access_key,
        secret=user.secret_key,
        endpoint_url=user.endpoint,
        client_kwargs=more,
        skip_instance_cache=True,
    )
    filesystem.pipe(f"{user.datasets}/{key}", b"x")


def minio_py_asks_for_the_region(user, key, **_):
    """Which it does before all else, as if this were us-east-1."""
    import urllib3
    from minio import Minio

    pool = urllib3.PoolManager(retries=False, cert_reqs="CERT_REQUIRED", ca_certs=str(user.authority))
    client = Minio(
        user.address, access_key=user.access_key, secret_key=user.secret_key, secure=True, http_client=pool
    )
    client.put_object(user.datasets, key, io.BytesIO(b"x"), 1)


REFUSED = {
    boto3_puts: NO_CHUNKS,
    boto3_puts_if_absent: NO_CHUNKS,
    boto3_uploads_in_parts: NO_HEADER,
    boto3_deletes_many: NO_DIGEST,
    aws_cli_copies: NO_CHUNKS,
    aws_cli_copies_in_parts: NO_HEADER,
    aws_cli_syncs: NO_CHUNKS,
    aws_cli_deletes_many: NO_DIGEST,
    s3fs_writes: NO_CHUNKS,
    minio_py_asks_for_the_region: NO_KEY,
}


@pytest.mark.oci_defaults
@pytest.mark.parametrize("does", REFUSED, ids=lambda does: does.__name__)
def test_a_default_that_oci_refuses(target, alice, folder, command, home, does):
    with pytest.raises(Exception, match=REFUSED[does]):
        does(target.upstream.customer(), f"{folder}/direct", command=command, home=home)
    does(alice, f"{folder}/through", command=command, home=home)


@pytest.mark.oci_defaults
def test_every_request_that_the_gateway_makes_is_one_that_oci_takes(target, alice, folder):
    """A GET with checksums asked for, a part with a CRC64NVME: what a client wants verified is the gateway's to verify."""
    before = len(target.upstream.requests())
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/checked"}
    s3.put_object(**where, Body=io.BytesIO(b"checked"), ChecksumAlgorithm="CRC64NVME", StorageClass="STANDARD")
    assert s3.get_object(**where, ChecksumMode="ENABLED")["Body"].read() == b"checked"
    s3.delete_objects(Bucket=alice.datasets, Delete={"Objects": [{"Key": where["Key"]}]})
    made = target.upstream.requests()[before:]
    assert len(made) >= 3 and all(request["status"] < 300 for request in made), made
    for request in made:
        assert request["headers"]["x-amz-content-sha256"] in ("UNSIGNED-PAYLOAD", _SHA256_OF_NOTHING)


_SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.oci_defaults
def test_a_pre_authenticated_request_is_a_plain_url(target, alice, folder, home):
    key = f"{folder}/sp ace+%é"
    alice.s3().put_object(Bucket=alice.datasets, Key=key, Body=b"shared")
    curl = Command(("curl", "--silent", "--show-error"), alice.environment(home), home)
    platform = (*curl.words, "--cacert", alice.authority, "--fail", "-H", f"Authorization: Bearer {alice.token}")
    platform = replace(curl, words=platform)
    wanted = json.dumps({"method": "GET", "bucket": alice.datasets, "key": key})
    made = json.loads(platform("--json", wanted, f"{alice.endpoint}/api/v1/par"))
    assert made["url"].startswith(f"{target.upstream.native_endpoint}/p/")
    assert curl.bytes("--fail", made["url"]) == b"shared"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "-T", __file__, made["url"]) == "404"
    platform("-X", "DELETE", f"{alice.endpoint}/api/v1/par/{quote(made['id'], safe='')}")
    assert curl("-o", "/dev/null", "-w", "%{http_code}", made["url"]) == "404"


@pytest.mark.oci_throttled
def test_nobody_notices_that_the_upstream_throttles(target, alice, folder):
    before = len(target.upstream.requests())
    s3 = replace(alice, tries_again=False, _clients={}).s3()
    for number in range(30):
        where = {"Bucket": alice.datasets, "Key": f"{folder}/{number}"}
        s3.put_object(**where, Body=b"%d" % number)
        assert s3.get_object(**where)["Body"].read() == b"%d" % number
    statuses = [request["status"] for request in target.upstream.requests()[before:]]
    assert statuses.count(429) >= 20, statuses
