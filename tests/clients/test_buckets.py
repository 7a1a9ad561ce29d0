"""boto3: buckets, and what S3 knows about buckets and objects besides their content."""

import pytest
from botocore.exceptions import ClientError

from users import error_code

pytestmark = pytest.mark.gateway_only

NOT_THERE = {
    "get_bucket_policy": (404, "NoSuchBucketPolicy"),
    "get_bucket_lifecycle_configuration": (404, "NoSuchLifecycleConfiguration"),
    "get_bucket_cors": (404, "NoSuchCORSConfiguration"),
    "get_bucket_website": (404, "NoSuchWebsiteConfiguration"),
    "get_bucket_encryption": (404, "ServerSideEncryptionConfigurationNotFoundError"),
    "get_bucket_tagging": (404, "NoSuchTagSet"),
    "get_object_lock_configuration": (404, "ObjectLockConfigurationNotFoundError"),
    "get_bucket_replication": (404, "ReplicationConfigurationNotFoundError"),
}


def test_list_buckets_shows_exactly_the_users_own(alice, bob):
    for user in (alice, bob):
        answer = user.s3().list_buckets()
        assert sorted(bucket["Name"] for bucket in answer["Buckets"]) == ["datasets", "logs", "models"]
        assert answer["Owner"]["ID"]


@pytest.mark.parametrize("bucket", ["datasets", "models", "logs"])
def test_a_bucket_of_ones_own(alice, bucket):
    s3 = alice.s3()
    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] in (None, alice.region)
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket=bucket)
    assert error_code(error) == (409, "BucketAlreadyOwnedByYou")


@pytest.mark.parametrize("bucket", ["real-bucket", "somebody-elses", "api-docs"])
def test_a_bucket_that_is_not_ones_own(alice, bucket):
    s3 = alice.s3()
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket=bucket)
    assert error_code(error)[0] in (403, 404)
    for operation in (
        lambda: s3.list_objects_v2(Bucket=bucket),
        lambda: s3.get_object(Bucket=bucket, Key="datasets/alice/x"),
        lambda: s3.put_object(Bucket=bucket, Key="datasets/alice/x", Body=b"x"),
        lambda: s3.delete_object(Bucket=bucket, Key="datasets/alice/x"),
    ):
        with pytest.raises(ClientError) as error:
            _unless_the_client_said_it(bucket, operation)
        assert error_code(error) in [(403, "AccessDenied"), (404, "NoSuchBucket")]
    with pytest.raises(ClientError) as error:
        _unless_the_client_said_it(bucket, lambda: s3.create_bucket(Bucket=bucket))
    assert error_code(error) == (403, "AccessDenied")


def _unless_the_client_said_it(bucket, operation):
    """An error echoes the resource that was asked for: that the name is real, it does not say."""
    try:
        operation()
    except AssertionError:
        if bucket != "real-bucket":
            raise
        pytest.skip("an error's Resource repeats the caller's own words")


@pytest.mark.parametrize("operation", NOT_THERE)
def test_there_is_none(alice, operation):
    with pytest.raises(ClientError) as error:
        getattr(alice.s3(), operation)(Bucket=alice.datasets)
    assert error_code(error) == NOT_THERE[operation]


NOT_HERE = {
    "put_bucket_policy": {"Policy": "{}"},
    "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Enabled"}},
    "put_bucket_tagging": {"Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}},
    "put_bucket_acl": {"ACL": "public-read"},
    "delete_bucket_policy": {},
    "delete_bucket_lifecycle": {},
}


@pytest.mark.parametrize("operation", NOT_HERE)
def test_cannot_be_set(alice, operation):
    with pytest.raises(ClientError) as error:
        getattr(alice.s3(), operation)(Bucket=alice.datasets, **NOT_HERE[operation])
    assert error_code(error) == (501, "NotImplemented")


def test_acls_are_private(alice, folder):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/acl"}
    s3.put_object(**where, Body=b"x", ACL="private")
    s3.put_object(**where, Body=b"x", ACL="bucket-owner-full-control")
    for acl in (s3.get_bucket_acl(Bucket=alice.datasets), s3.get_object_acl(**where)):
        assert [grant["Permission"] for grant in acl["Grants"]] == ["FULL_CONTROL"]
        assert acl["Grants"][0]["Grantee"]["ID"] == acl["Owner"]["ID"]
    s3.put_object_acl(**where, ACL="private")
    for refused in (
        lambda: s3.put_object_acl(**where, ACL="public-read"),
        lambda: s3.put_object(**where, Body=b"y", ACL="public-read"),
        lambda: s3.put_object(**where, Body=b"y", Tagging="a=b"),
        lambda: s3.put_object(**where, Body=b"y", ServerSideEncryption="aws:kms"),
        lambda: s3.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
    ):
        with pytest.raises(ClientError) as error:
            refused()
        assert error_code(error) == (501, "NotImplemented")
    assert s3.get_object(**where)["Body"].read() == b"x"


def test_encryption_that_the_service_does_anyway_is_accepted(alice, folder):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/sse"}
    s3.put_object(**where, Body=b"x", ServerSideEncryption="AES256")
    assert s3.get_object(**where)["Body"].read() == b"x"


def test_logs_are_read_only_and_empty_without_a_job(alice, folder):
    s3 = alice.s3()
    assert "Contents" not in s3.list_objects_v2(Bucket="logs")
    assert "Contents" not in s3.list_objects(Bucket="logs", Prefix="job-1/")
    assert "CommonPrefixes" not in s3.list_objects_v2(Bucket="logs", Delimiter="/")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="logs", Key="job-1/train.log")
    assert error_code(error) == (404, "NoSuchKey")
    for write in (
        lambda: s3.put_object(Bucket="logs", Key="job-1/train.log", Body=b"x"),
        lambda: s3.create_multipart_upload(Bucket="logs", Key="job-1/train.log"),
    ):
        with pytest.raises(ClientError) as error:
            write()
        assert error_code(error)[0] in (403, 404)
