"""The admin API as its users' tools see it: its document, and a key's life with boto3."""

import pytest
from botocore.exceptions import ClientError
from openapi_spec_validator import validate

pytestmark = pytest.mark.gateway_only


@pytest.fixture
def ask(target):
    return target.administer


def test_the_document_is_valid_openapi(ask):
    document = ask("GET", "openapi.json")
    validate(document)
    assert "/api/v1/admin/users/{user_id}/keys" in document["paths"]


def test_a_key_lives_as_long_as_it_may(ask, alice):
    ask("PUT", "users/carol", {})
    made = ask("POST", "users/carol/keys")
    key = made["access_key_id"]
    s3 = alice.s3(key, made["secret_access_key"])
    s3.put_object(Bucket=alice.datasets, Key="x", Body=b"carol's")
    assert s3.get_object(Bucket=alice.datasets, Key="x")["Body"].read() == b"carol's"

    def refusal():
        with pytest.raises(ClientError) as refused:
            s3.list_objects_v2(Bucket=alice.datasets)
        return refused.value.response["Error"]["Code"]

    ask("PATCH", f"users/carol/keys/{key}", {"enabled": False})
    assert refusal() == "InvalidAccessKeyId"
    ask("PATCH", f"users/carol/keys/{key}", {"enabled": True})
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=alice.datasets)["Contents"]] == ["x"]
    ask("DELETE", f"users/carol/keys/{key}")
    assert refusal() == "InvalidAccessKeyId"
    ask("DELETE", "users/carol")
