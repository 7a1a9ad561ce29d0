"""Quotas as their users meet them: the clients' own words for a refusal, and what is counted."""

import contextlib
import json

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from corpus import KIB, MIB, content
from servers import UNLIMITED

pytestmark = pytest.mark.gateway_only


@pytest.fixture
def limited(target):
    """Within it alice has limits of her own."""

    @contextlib.contextmanager
    def limited(**limits):
        target.set_limits("alice", limits)
        try:
            yield
        finally:
            target.set_limits("alice", UNLIMITED)

    return limited


@pytest.fixture
def quota(alice):
    """Answers of `/api/v1`, to alice."""

    def ask(path="quota"):
        request = AWSRequest("GET", f"{alice.endpoint}/api/v1/{path}")
        S3SigV4Auth(Credentials(alice.access_key, alice.secret_key), "s3", alice.region).add_auth(request)
        answer = URLLib3Session().send(request.prepare())
        return answer.status_code, json.loads(answer.content)

    return ask


def storage(quota):
    """What alice has, and what is held for uploads that other tests have left open."""
    document = quota()[1]["storage"]
    return document["used_bytes"], document["reserved_bytes"]


def refusal(call, *args, **kwargs):
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def test_boto3_is_told_what_is_full(alice, folder, limited, quota):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/object"}
    s3.put_object(**where, Body=content(10 * KIB))
    used, held = storage(quota)
    limit = used + held + 5 * KIB
    with limited(max_storage=limit):
        said = refusal(s3.put_object, Bucket=alice.datasets, Key=f"{folder}/more", Body=content(6 * KIB))
        text = f"Upload denied: storage quota exceeded: current {used + held} + upload {6 * KIB} > limit {limit} bytes"
        assert said == (429, "QuotaExceeded", text)
        s3.put_object(**where, Body=content(15 * KIB))  # 5 KiB more than what it replaces
        assert storage(quota) == (used + 5 * KIB, held)
        s3.delete_object(**where)
    assert storage(quota) == (used - 10 * KIB, held)


def test_boto3_is_told_what_is_too_large(alice, folder, limited):
    with limited(max_file_size=KIB):
        said = refusal(alice.s3().put_object, Bucket=alice.datasets, Key=f"{folder}/x", Body=content(KIB + 1))
    text = f"Upload denied: file size {KIB + 1} bytes exceeds maximum allowed {KIB} bytes"
    assert said == (429, "EntityTooLarge", text)


def test_boto3_is_told_how_many_an_hour_takes(alice, folder, limited, quota):
    s3 = alice.s3()
    limit = quota()[1]["rate_limits"]["uploads_last_hour"] + 1
    with limited(uploads_per_hour=limit):
        s3.put_object(Bucket=alice.datasets, Key=f"{folder}/last", Body=b"x")
        code, name, text = refusal(s3.put_object, Bucket=alice.datasets, Key=f"{folder}/none", Body=b"x")
    assert (code, name) == (429, "TooManyUploads")
    assert text == f"Upload denied: hourly upload limit reached: {limit}/{limit} uploads"


def test_a_file_over_the_limit_is_refused_unsent(alice, target, folder, limited, command, home):
    """200 MiB: the client waits for the answer to its Expect, or begins with a CreateMultipartUpload."""
    with (home / "large").open("wb") as file:
        file.truncate(200 * MIB)
    received = lambda: target.metric("bucketwarden_received_bytes_total")  # noqa: E731
    before = received()
    with limited(max_file_size=100 * MIB), (home / "large").open("rb") as body:
        said = refusal(alice.s3().put_object, Bucket=alice.datasets, Key=f"{folder}/large", Body=body)
    assert said[1:] == (
        "EntityTooLarge",
        f"Upload denied: file size {200 * MIB} bytes exceeds maximum allowed {100 * MIB} bytes",
    )
    assert received() == before

    aws = command("aws", AWS_MAX_ATTEMPTS=1)
    where = ("--bucket", alice.datasets, "--key", f"{folder}/large")
    with limited(max_file_size=100 * MIB):
        said = aws("s3api", "put-object", *where, "--body", "large", fails=True)
    assert "EntityTooLarge" in said and "exceeds maximum allowed" in said
    assert received() == before


def test_aws_cp_shows_the_message(alice, folder, limited, quota, command, home):
    """As parts: the one that is too much is refused, and what was sent is given back."""
    used, held = storage(quota)
    (home / "parts").write_bytes(content(20 * MIB))
    aws = command("aws", AWS_MAX_ATTEMPTS=1)
    with limited(max_storage=used + held + 10 * MIB):
        said = aws("s3", "cp", "parts", f"s3://{alice.datasets}/{folder}/parts", fails=True)
    assert "upload failed" in said and "Upload denied: storage quota exceeded: current" in said
    assert storage(quota) == (used, held)


def test_a_limit_below_the_use_refuses_writes_alone(alice, folder, limited, quota):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/object"}
    s3.put_object(**where, Body=content(KIB))
    with limited(max_storage=1):
        assert refusal(s3.put_object, Bucket=alice.datasets, Key=f"{folder}/more", Body=b"x")[1] == "QuotaExceeded"
        assert quota("quota/check?size=1")[0] == 429
        assert s3.get_object(**where)["Body"].read() == content(KIB)
        assert s3.list_objects_v2(Bucket=alice.datasets, Prefix=folder)["KeyCount"] == 1
        s3.delete_object(**where)
    assert quota("quota/check?size=1") == (200, {"allowed": True})


def test_a_recount_finds_what_the_ledger_says(alice, folder, quota, target):
    """Other tests have written past the gateway, so the first recount may find something; the second must not."""
    s3, where = alice.s3(), {"Bucket": alice.models, "Key": f"{folder}/model"}
    (before,) = recounts(target)
    s3.put_object(**where, Body=content(3 * KIB))
    status, usage = quota("usage")
    assert (status, usage["user_id"], usage["total_bytes"]) == (200, "alice", before["bytes"] + 3 * KIB)
    assert usage["datasets_bytes"] + usage["models_bytes"] == usage["total_bytes"]
    assert storage(quota)[0] == usage["total_bytes"]
    (after,) = recounts(target)
    assert (after["bytes"], after["drift_bytes"]) == (usage["total_bytes"], 0)
    assert target.administer("GET", "quota/alice")["storage"]["used_bytes"] == usage["total_bytes"]


def recounts(target):
    lines = target.administer_lines("POST", "reconcile", {"users": ["alice"]})
    return [line for line in lines if "drift_bytes" in line]
