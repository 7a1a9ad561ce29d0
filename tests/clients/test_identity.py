"""Ways in besides lasting keys: a platform's tokens, and the temporary keys that SDKs get for them by themselves."""

import json
import ssl
import urllib.error
import urllib.request

import boto3
import pytest

import servers
from processes import own_environment
from users import Command

pytestmark = [pytest.mark.everywhere, pytest.mark.gateway_only]

KEYS_OF_OUR_OWN = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture
def web_identity(alice, home):
    """What a workload's environment says of alice: a file with her token, a role, where to ask. No keys."""
    token = home / "token"
    token.write_text(alice.token)
    variables = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": token,
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/bucketwarden",
        "AWS_ROLE_SESSION_NAME": "suite",
        "AWS_ENDPOINT_URL_STS": alice.endpoint,
        "AWS_ENDPOINT_URL_S3": alice.endpoint,
        "AWS_REGION": alice.region,
        "AWS_DEFAULT_REGION": alice.region,
    }
    if alice.authority:
        variables["AWS_CA_BUNDLE"] = alice.authority
    return {name: str(value) for name, value in variables.items()}


@pytest.fixture
def session(web_identity, home, monkeypatch):
    """boto3 in that environment, and nothing else."""
    for name in KEYS_OF_OUR_OWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(home), **web_identity}.items():
        monkeypatch.setenv(name, value)
    return boto3.session.Session()


def test_boto3_gets_keys_by_itself(alice, session, folder):
    s3, where = session.client("s3"), {"Bucket": alice.datasets, "Key": f"{folder}/by-token"}
    s3.put_object(**where, Body=b"temporary")
    assert s3.get_object(**where)["Body"].read() == b"temporary"
    assert alice.s3().get_object(**where)["Body"].read() == b"temporary"
    keys = session.get_credentials()
    assert keys.method == "assume-role-with-web-identity"
    frozen = keys.get_frozen_credentials()
    assert frozen.access_key.startswith("BWT") and frozen.token
    url = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    assert opened(alice, url) == (200, b"temporary")


def test_boto3_refreshes_its_keys(alice, session, folder):
    """The suite's gateways give keys for 15 minutes, and botocore renews any that end within 15 minutes."""
    s3, signed_with = session.client("s3"), set()
    for number in range(3):
        s3.put_object(Bucket=alice.datasets, Key=f"{folder}/{number}", Body=b"x")
        signed_with.add(session.get_credentials().get_frozen_credentials().access_key)
    assert len(signed_with) == 3
    assert len(s3.list_objects_v2(Bucket=alice.datasets, Prefix=f"{folder}/")["Contents"]) == 3


def test_the_aws_cli_gets_keys_by_itself(alice, web_identity, home, folder):
    aws = Command((servers.program("aws"),), own_environment(home, **web_identity), home)
    (home / "up").write_bytes(b"from the command line")
    aws("s3", "cp", "up", f"s3://{alice.datasets}/{folder}/up")
    assert f"{folder}/up" in aws("s3", "ls", "--recursive", f"s3://{alice.datasets}/{folder}/")
    aws("s3", "cp", f"s3://{alice.datasets}/{folder}/up", "down")
    assert (home / "down").read_bytes() == b"from the command line"
    keys = json.loads(aws("sts", "assume-role-with-web-identity", "--role-arn", web_identity["AWS_ROLE_ARN"],
                          "--role-session-name", "suite", "--web-identity-token", alice.token))  # fmt: skip
    assert keys["SubjectFromWebIdentityToken"] == "alice"
    refused = aws("sts", "assume-role-with-web-identity", "--role-arn", web_identity["AWS_ROLE_ARN"],
                  "--role-session-name", "suite", "--web-identity-token", alice.token + "x", fails=True)  # fmt: skip
    assert "InvalidIdentityToken" in refused


def test_a_token_opens_both_surfaces(alice, bob, folder):
    for user in (alice, bob):
        status, body = opened(user, f"{user.endpoint}/api/v1/quota", user.token)
        assert (status, json.loads(body)["user_id"]) == (200, user.name)
    alice.s3().put_object(Bucket=alice.datasets, Key=f"{folder}/hers", Body=b"hers")
    url = f"{alice.endpoint}/{alice.datasets}/{folder}/hers"
    assert opened(alice, url, alice.token) == (200, b"hers")
    assert opened(bob, url, bob.token)[0] == 404
    for path in ("/api/v1/quota", f"/{alice.datasets}/{folder}/hers"):
        assert opened(alice, f"{alice.endpoint}{path}", alice.token + "x")[0] == 401


def opened(user, url, token=None):
    """Status and body, whatever the status."""
    trust = ssl.create_default_context(cafile=user.authority) if user.authority else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=trust, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()
