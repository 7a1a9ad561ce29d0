"""`bucketwarden check --probe` against real S3 services: what it finds out, and that it leaves nothing behind."""

import json
import subprocess

import pytest

import servers
from processes import own_environment

pytestmark = pytest.mark.gateway_only

# What each service does otherwise than S3, or refuses as S3 does.
LACKS = {
    "dev": {"body.no-length", "delete-objects.bare", "tagging.object"},
    "oci": {
        *("chunked.signed", "chunked.signed-trailer", "chunked.unsigned-trailer", "body.no-length", "key.line-feed"),
        *("checksum.crc32", "checksum.crc64nvme", "checksum.sha1", "delete-objects.crc32", "delete-objects.bare"),
        *("condition.put-match", "condition.delete-match", "versions.status", "versions.list", "tagging.object"),
    },
    # Verifies no body, and routes by lines.
    "moto": {
        "payload.sha256",
        "key.line-feed",
        *(f"checksum.{name}" for name in ("content-md5", "crc32", "crc32c", "crc64nvme", "sha1", "sha256")),
    },
    # Keeps aws-chunked as the object's Content-Encoding, keeps files, and compares no payload hash.
    "weed": {"chunked.signed", "chunked.signed-trailer", "chunked.unsigned-trailer", "key.slashes", "payload.sha256"},
}


def probe(folder, target, administrator, bucket):
    """Exit code and report of a probe with these credentials."""
    service = target.upstream
    dialect = service.dialect if service else f'dialect = "s3"\nendpoint = "{administrator.endpoint}"\n'
    config = folder / "config.toml"
    config.write_text(
        f"""\
[admin]
token = "an-admin-token-of-the-probe-0123456789abcdef"
[upstream]
{dialect}region = "{administrator.region}"
bucket = "{bucket}"
access_key_id = "{administrator.access_key}"
secret_access_key = "{administrator.secret_key}"
{service.native if service else ""}
[auth]
master_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
"""
    )
    run = subprocess.run(
        [servers.gateway_binary(), "check", "--probe", "--json", "--config", str(config)],
        env=own_environment(folder),
        cwd=folder,
        capture_output=True,
        timeout=150,
    )
    output = (run.stdout + run.stderr).decode()
    assert administrator.secret_key not in output
    return run.returncode, json.loads(run.stdout)["probe"]


def inventory(s3, bucket):
    """Everything that a bucket holds, whatever lists it."""
    objects = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [entry["Key"] for entry in objects], [(entry["Key"], entry["UploadId"]) for entry in uploads]


@pytest.fixture
def administrator(target, alice):
    return target.upstream.administrator() if target.upstream else alice


def test_a_probe_tells_what_works_and_leaves_nothing(target, administrator, tmp_path):
    bucket, s3 = administrator.datasets, administrator.s3()
    s3.put_object(Bucket=bucket, Key="datasets/somebody/own", Body=b"stays")
    before = inventory(s3, bucket)
    code, report = probe(tmp_path, target, administrator, bucket)
    outcomes = {finding["name"]: finding["outcome"] for finding in report["findings"]}
    came = {finding["name"]: finding["came"] for finding in report["findings"]}
    assert (code, report["works"], report["reasons"]) == (0, True, []), report["cleaned"]
    assert (report["dialect"], report["settings"]) == ("oci" if target.kind == "oci" else "s3", [])
    assert report["cleaned"]["clean"] and report["cleaned"]["prefix"].startswith("datasets/.bucketwarden-probe-")
    assert {name for name, outcome in outcomes.items() if outcome == "no"} == LACKS[target.kind], came
    assert inventory(s3, bucket) == before


def test_versions_go_with_their_objects(target, tmp_path):
    if target.kind in ("dev", "oci"):
        pytest.skip("keeps no versions")
    administrator = target.upstream.administrator("versioned")
    s3 = administrator.s3()
    s3.create_bucket(Bucket="versioned", CreateBucketConfiguration={"LocationConstraint": servers.REGION})
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    code, report = probe(tmp_path, target, administrator, "versioned")
    assert (code, report["cleaned"]["clean"]) == (0, True), report["cleaned"]
    status = next(finding["came"] for finding in report["findings"] if finding["name"] == "versions.status")
    assert status.startswith("enabled")
    left = s3.list_object_versions(Bucket="versioned")
    assert not left.get("Versions") and not left.get("DeleteMarkers")


def test_a_wrong_secret_is_told(target, administrator, tmp_path):
    if target.kind == "moto":
        pytest.skip("moto checks no signature")
    wrong = type(administrator)(
        administrator.name,
        administrator.access_key,
        "another-secret",
        administrator.endpoint,
        administrator.region,
        administrator.buckets,
    )
    code, report = probe(tmp_path, target, wrong, administrator.datasets)
    assert (code, report["works"]) == (1, False)
    settings = {finding["name"]: finding["setting"] for finding in report["findings"]}
    assert settings["signing.key"] == "check secret_access_key"
