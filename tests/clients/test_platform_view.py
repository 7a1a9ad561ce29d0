"""boto3 on the bucket as the platform's own scripts know it: full paths, of which everyone sees their own."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from corpus import MIB, content, odd_key
from servers import VIEW
from users import error_code

pytestmark = pytest.mark.platform_view


def listed(s3, **wanted):
    """Keys and common prefixes of all pages, as they come."""
    names = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=VIEW, **wanted):
        assert page["Name"] == VIEW
        names += [entry["Key"] for entry in page.get("Contents", [])]
        names += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
    return names


@pytest.fixture
def newcomer(target, alice, folder):
    """A user with nothing: what others have left in the bucket is none of theirs."""
    name = f"user-of-{folder}"
    target.administer("PUT", f"users/{name}", {})
    key = target.administer("POST", f"users/{name}/keys", {})
    pair = {"access_key": key["access_key_id"], "secret_key": key["secret_access_key"]}
    yield replace(alice, name=name, token="", _clients={}, **pair)
    target.administer("DELETE", f"users/{name}")


def test_a_script_that_writes_full_paths_runs_unchanged(newcomer, folder, home):
    name = newcomer.name
    s3, base = newcomer.s3(), f"datasets/{name}/{folder}"
    source, copy = home / "source", home / "copy"
    source.write_bytes(content(18 * MIB))
    s3.upload_file(str(source), VIEW, f"{base}/weights.bin")
    s3.put_object(Bucket=VIEW, Key=f"{base}/data.csv", Body=b"a,b\n")
    s3.download_file(VIEW, f"{base}/weights.bin", str(copy))
    assert copy.read_bytes() == source.read_bytes()
    s3.copy_object(Bucket=VIEW, Key=f"models/{name}/{folder}/data.csv", CopySource=f"{VIEW}/{base}/data.csv")

    # The same objects by the other buckets' names.
    for bucket in ("datasets", "models"):
        assert s3.get_object(Bucket=bucket, Key=f"{folder}/data.csv")["Body"].read() == b"a,b\n"
    s3.put_object(Bucket="datasets", Key=f"{folder}/late", Body=b"late")
    assert s3.get_object(Bucket=VIEW, Key=f"{base}/late")["Body"].read() == b"late"

    assert listed(s3, Prefix=f"{base}/") == [f"{base}/{file}" for file in ("data.csv", "late", "weights.bin")]
    assert listed(s3, Delimiter="/") == ["datasets/", "models/"]
    assert listed(s3, Delimiter="/", Prefix="datasets/") == [f"datasets/{name}/"]
    keys = [f"{base}/{file}" for file in ("data.csv", "late", "weights.bin")] + [f"models/{name}/{folder}/data.csv"]
    assert keys == listed(s3) == listed(s3, PaginationConfig={"PageSize": 2})
    gone = s3.delete_objects(Bucket=VIEW, Delete={"Objects": [{"Key": key} for key in keys]})
    assert sorted(entry["Key"] for entry in gone["Deleted"]) == sorted(keys)
    assert "Contents" not in s3.list_objects_v2(Bucket="datasets", Prefix=folder)


@pytest.mark.parametrize("name", ["space", "plus", "escaped-percent", "punctuation"])
def test_odd_names_are_the_same_by_both_ways(alice, folder, name):
    s3, key = alice.s3(), odd_key(name, folder)
    s3.put_object(Bucket=VIEW, Key=f"models/alice/{key}", Body=b"x")
    assert s3.get_object(Bucket="models", Key=key)["Body"].read() == b"x"
    assert listed(s3, Prefix=f"models/alice/{folder}") == [f"models/alice/{key}"]
    s3.delete_object(Bucket="models", Key=key)
    assert listed(s3, Prefix=f"models/alice/{folder}") == []


def test_what_is_somebody_elses_is_not_there(alice, bob, folder):
    key = f"datasets/bob/{folder}/x"
    bob.s3().put_object(Bucket=VIEW, Key=key, Body=b"bob's")
    s3 = alice.s3()
    for path in (key, f"datasets/bob/{folder}/never-was", "datasets/bob", "elsewhere/x"):
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket=VIEW, Key=path)
        assert error_code(error) == (404, "NoSuchKey")
        for write in (
            lambda: s3.put_object(Bucket=VIEW, Key=path, Body=b"x"),
            lambda: s3.delete_object(Bucket=VIEW, Key=path),
            lambda: s3.create_multipart_upload(Bucket=VIEW, Key=path),
        ):
            with pytest.raises(ClientError) as error:
                write()
            assert error_code(error) == (403, "AccessDenied")
    assert listed(s3, Prefix="datasets/b") == []
    assert bob.s3().get_object(Bucket=VIEW, Key=key)["Body"].read() == b"bob's"
