"""boto3: every checksum it can send, right and wrong. Over https botocore sends them as trailers of aws-chunked bodies."""

import base64
import hashlib
import io

import pytest
from botocore.exceptions import ClientError

from corpus import KIB, MIB, content
from users import error_code

pytestmark = pytest.mark.everywhere
ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]


def member(algorithm):
    return f"Checksum{algorithm}"


@pytest.mark.parametrize("size", [0, 1, 100 * KIB, MIB + 1])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_put_with_checksum(alice, folder, algorithm, size):
    s3, where, data = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/{algorithm}"}, content(size)
    answer = s3.put_object(**where, Body=io.BytesIO(data), ChecksumAlgorithm=algorithm)
    assert answer[member(algorithm)]
    if algorithm.startswith("SHA"):
        digest = hashlib.new(algorithm.lower(), data).digest()
        assert answer[member(algorithm)] == base64.b64encode(digest).decode()
    assert s3.get_object(**where, ChecksumMode="ENABLED")["Body"].read() == data


WRONG = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}


@pytest.mark.parametrize("data", [b"", b"some data", b"x" * (2 * MIB)], ids=["empty", "small", "2MiB"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_leaves_no_object(alice, folder, algorithm, data):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/wrong"}
    wrong = base64.b64encode(b"\x01" * WRONG[algorithm]).decode()
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=data, **{member(algorithm): wrong})
    assert error_code(error) == (400, "BadDigest")
    with pytest.raises(ClientError) as error:
        s3.head_object(**where)
    assert error_code(error)[0] == 404


def test_content_md5(alice, folder):
    s3, where, data = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/md5"}, content(1000)
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=data, ContentMD5=base64.b64encode(bytes(16)).decode())
    assert error_code(error) == (400, "BadDigest")
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=data, ContentMD5="not base64 of 16 bytes")
    assert error_code(error) == (400, "InvalidDigest")
    right = hashlib.md5(data)
    answer = s3.put_object(**where, Body=data, ContentMD5=base64.b64encode(right.digest()).decode())
    assert answer["ETag"] == f'"{right.hexdigest()}"'


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_multipart_with_checksum(alice, folder, algorithm):
    s3, where, data = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/multi"}, content(6 * MIB)
    upload = s3.create_multipart_upload(**where, ChecksumAlgorithm=algorithm)["UploadId"]
    parts = []
    for number, piece in enumerate([data[: 5 * MIB], data[5 * MIB :]], 1):
        put = s3.upload_part(
            **where, UploadId=upload, PartNumber=number, Body=io.BytesIO(piece), ChecksumAlgorithm=algorithm
        )
        assert put[member(algorithm)]
        parts.append({"PartNumber": number, "ETag": put["ETag"], member(algorithm): put[member(algorithm)]})
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(**where)["Body"].read() == data


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_leaves_no_part(alice, folder, algorithm):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/part"}
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    wrong = base64.b64encode(b"\x01" * WRONG[algorithm]).decode()
    with pytest.raises(ClientError) as error:
        s3.upload_part(**upload, PartNumber=1, Body=b"data", **{member(algorithm): wrong})
    assert error_code(error) == (400, "BadDigest")
    assert not s3.list_parts(**upload).get("Parts")
    s3.abort_multipart_upload(**upload)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_multi_delete_with_checksum(alice, folder, algorithm):
    s3, key = alice.s3(), f"{folder}/deleted"
    s3.put_object(Bucket=alice.datasets, Key=key, Body=b"x")
    answer = s3.delete_objects(
        Bucket=alice.datasets, Delete={"Objects": [{"Key": key}]}, ChecksumAlgorithm=algorithm
    )
    assert [deleted["Key"] for deleted in answer["Deleted"]] == [key]
