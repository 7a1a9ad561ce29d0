"""Training logs: a service user writes them with boto3, the job's owner reads them with rclone, nobody else does."""

import io
import time
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from corpus import MIB, content
from test_rclone import _rclone, listed
from users import error_code

pytestmark = pytest.mark.gateway_only

# A change reaches every gateway within five seconds.
KNOWN_WITHIN = 6


@pytest.fixture
def service(target, alice):
    """A process of the platform, with a key of its own."""
    target.administer("PUT", "users/platform", {"role": "service"})
    key = target.administer("POST", "users/platform/keys", {})
    pair = {"access_key": key["access_key_id"], "secret_key": key["secret_access_key"]}
    yield replace(alice, name="platform", token="", _clients={}, **pair)
    target.administer("DELETE", f"users/platform/keys/{key['access_key_id']}")


@pytest.fixture
def job(target, folder):
    """A job of alice's."""
    target.administer("PUT", f"jobs/{folder}", {"user_id": "alice"})
    yield folder
    target.administer("DELETE", f"jobs/{folder}")


def test_a_service_writes_logs_and_the_owner_reads_them(service, job, alice, bob, command, home):
    large = content(6 * MIB)
    s3 = service.s3()
    s3.put_object(Bucket="logs", Key=f"{job}/train.log", Body=b"epoch 1\n")
    s3.upload_fileobj(io.BytesIO(large), "logs", f"{job}/events/events.out")

    rclone = _rclone(command, alice, home)
    assert listed(rclone, f"s3:logs/{job}") == ["events/events.out", "train.log"]
    rclone("copy", f"s3:logs/{job}", "got")
    assert (home / "got/train.log").read_bytes() == b"epoch 1\n"
    assert (home / "got/events/events.out").read_bytes() == large
    # Among all of her jobs too, once that they are hers is known.
    deadline = time.monotonic() + KNOWN_WITHIN
    while f"{job}/" not in rclone("lsf", "s3:logs").splitlines():
        assert time.monotonic() < deadline, "the job does not show"
        time.sleep(0.2)
    assert f"{job}/train.log" in listed(rclone, "s3:logs")

    # A log grows by being written anew.
    s3.put_object(Bucket="logs", Key=f"{job}/train.log", Body=b"epoch 1\nepoch 2\n")
    assert rclone("cat", f"s3:logs/{job}/train.log") == "epoch 1\nepoch 2\n"

    assert listed(_rclone(command, bob, home), f"s3:logs/{job}") == []
    for key in (f"{job}/train.log", f"{job}/never-was", "no-such-job/train.log"):
        with pytest.raises(ClientError) as error:
            bob.s3().get_object(Bucket="logs", Key=key)
        assert error_code(error) == (404, "NoSuchKey")
    for write in (
        lambda: alice.s3().put_object(Bucket="logs", Key=f"{job}/train.log", Body=b"x"),
        lambda: alice.s3().delete_object(Bucket="logs", Key=f"{job}/train.log"),
    ):
        with pytest.raises(ClientError) as error:
            write()
        assert error_code(error) == (403, "AccessDenied")

    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="logs", Prefix=f"{job}/"):
        keys = [{"Key": entry["Key"]} for entry in page["Contents"]]
        assert len(s3.delete_objects(Bucket="logs", Delete={"Objects": keys})["Deleted"]) == 2
    assert listed(rclone, f"s3:logs/{job}") == []
