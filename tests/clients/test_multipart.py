"""boto3: multipart uploads by hand."""

import pytest
from botocore.exceptions import ClientError

from corpus import MIB, content
from users import error_code

PART = 5 * MIB


@pytest.fixture
def where(alice, folder):
    return {"Bucket": alice.datasets, "Key": f"{folder}/sp ace+multi%part/é"}


@pytest.fixture
def upload(alice, where):
    """An open upload; whatever a test leaves of it is aborted."""
    opened = {**where, "UploadId": alice.s3().create_multipart_upload(**where)["UploadId"]}
    yield opened
    try:
        alice.s3().abort_multipart_upload(**opened)
    except ClientError:
        pass


def put_part(s3, upload, number, data):
    return {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=data)["ETag"]}


def complete(s3, upload, parts):
    return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


def test_parts_become_the_object_in_their_order(target, alice, where, upload):
    s3, data = alice.s3(), content(2 * PART + 100)
    third = put_part(s3, upload, 7, data[2 * PART :])
    first = put_part(s3, upload, 2, data[:PART])
    second = put_part(s3, upload, 3, data[PART : 2 * PART])
    with pytest.raises(ClientError) as error:
        s3.head_object(**where)
    assert error_code(error)[0] == 404
    done = complete(s3, upload, [first, second, third])
    assert target.is_etag_of_parts(done["ETag"], 3)
    got = s3.get_object(**where)
    assert (got["ETag"], got["Body"].read() == data) == (done["ETag"], True)


def test_a_part_can_be_put_again(alice, where, upload):
    s3 = alice.s3()
    put_part(s3, upload, 1, b"first try")
    complete(s3, upload, [put_part(s3, upload, 1, b"second try")])
    assert s3.get_object(**where)["Body"].read() == b"second try"


def test_list_parts_in_pages(alice, upload):
    s3 = alice.s3()
    parts = [put_part(s3, upload, number, bytes(number)) for number in (1, 2, 3, 5, 8)]
    found, marker = [], 0
    while True:
        page = s3.list_parts(**upload, MaxParts=2, PartNumberMarker=marker)
        found += page["Parts"]
        assert len(page["Parts"]) <= 2
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    assert [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in found] == parts
    assert [part["Size"] for part in found] == [1, 2, 3, 5, 8]


def test_list_uploads_in_pages(alice, folder):
    s3, bucket = alice.s3(), alice.models
    keys = sorted((f"{folder}/{name}" for name in ("a b", "a+b", "b/1", "b/2", "é")), key=str.encode)
    opened = {key: s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in keys}
    found, markers = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, Prefix=f"{folder}/", MaxUploads=2, **markers)
        found += page.get("Uploads", [])
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert [(upload["Key"], upload["UploadId"]) for upload in found] == list(opened.items())
    page = s3.list_multipart_uploads(Bucket=bucket, Prefix=f"{folder}/", Delimiter="/")
    assert [upload["Key"] for upload in page["Uploads"]] == [key for key in keys if key.count("/") == 1]
    assert [common["Prefix"] for common in page["CommonPrefixes"]] == [f"{folder}/b/"]
    for key, upload in opened.items():
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    assert not s3.list_multipart_uploads(Bucket=bucket, Prefix=f"{folder}/").get("Uploads")


def test_abort(alice, where, upload):
    s3 = alice.s3()
    part = put_part(s3, upload, 1, b"x")
    assert s3.abort_multipart_upload(**upload)["ResponseMetadata"]["HTTPStatusCode"] == 204
    for gone in (
        lambda: s3.list_parts(**upload),
        lambda: put_part(s3, upload, 2, b"y"),
        lambda: complete(s3, upload, [part]),
    ):
        with pytest.raises(ClientError) as error:
            gone()
        assert error_code(error) == (404, "NoSuchUpload")
    with pytest.raises(ClientError) as error:
        s3.head_object(**where)
    assert error_code(error)[0] == 404


@pytest.mark.parametrize("bad", ["nonsense", "VXBsb2FkIElEIGZvciBlbHZpbmcncw", "../../x", "a b+c&d"])
def test_an_upload_id_nobody_gave(alice, where, bad):
    s3, upload = alice.s3(), {**where, "UploadId": bad}
    part = {"PartNumber": 1, "ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}
    for operation in (
        lambda: put_part(s3, upload, 1, b"x"),
        lambda: s3.list_parts(**upload),
        lambda: s3.abort_multipart_upload(**upload),
        lambda: complete(s3, upload, [part]),
    ):
        with pytest.raises(ClientError) as error:
            operation()
        assert error_code(error) == (404, "NoSuchUpload")


def test_completing_with_a_part_that_is_not_there(alice, upload):
    s3 = alice.s3()
    there = put_part(s3, upload, 1, b"x")
    for wrong in ({"PartNumber": 2, "ETag": there["ETag"]}, {"PartNumber": 1, "ETag": '"' + "0" * 32 + '"'}):
        with pytest.raises(ClientError) as error:
            complete(s3, upload, [wrong])
        assert error_code(error) == (400, "InvalidPart")


def test_completing_in_the_wrong_order(alice, upload):
    s3 = alice.s3()
    parts = [put_part(s3, upload, number, content(PART)) for number in (1, 2)]
    with pytest.raises(ClientError) as error:
        complete(s3, upload, parts[::-1])
    assert error_code(error) == (400, "InvalidPartOrder")


def test_a_small_part_that_is_not_the_last(alice, upload):
    s3 = alice.s3()
    parts = [put_part(s3, upload, number, b"small") for number in (1, 2)]
    with pytest.raises(ClientError) as error:
        complete(s3, upload, parts)
    assert error_code(error) == (400, "EntityTooSmall")


def test_parts_copied_from_other_objects(alice, where, upload, folder):
    s3, data = alice.s3(), content(PART + 1000)
    source = {"Bucket": alice.models, "Key": f"{folder}/source of parts+%"}
    s3.put_object(**source, Body=data)
    parts = []
    for number, span in enumerate([f"bytes=0-{PART - 1}", f"bytes={PART}-{PART + 999}"], 1):
        copied = s3.upload_part_copy(**upload, PartNumber=number, CopySource=source, CopySourceRange=span)
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    complete(s3, upload, parts)
    assert s3.get_object(**where)["Body"].read() == data


def test_a_whole_object_copied_as_a_part(alice, where, upload, folder):
    s3, source = alice.s3(), {"Bucket": alice.models, "Key": f"{folder}/whole"}
    s3.put_object(**source, Body=b"whole")
    copied = s3.upload_part_copy(**upload, PartNumber=1, CopySource=source)["CopyPartResult"]["ETag"]
    complete(s3, upload, [{"PartNumber": 1, "ETag": copied}])
    assert s3.get_object(**where)["Body"].read() == b"whole"


def test_boto3_copies_a_large_object_in_parts(target, alice, where, folder):
    from boto3.s3.transfer import TransferConfig

    s3, data = alice.s3(), content(12 * MIB)
    source = {"Bucket": alice.models, "Key": f"{folder}/large"}
    s3.put_object(**source, Body=data)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    s3.copy(source, where["Bucket"], where["Key"], Config=config)
    got = s3.get_object(**where)
    assert got["Body"].read() == data
    assert target.is_etag_of_parts(got["ETag"], 3)


def test_parts_of_the_finished_object_can_be_read(alice, where, upload):
    s3, data = alice.s3(), content(PART + 10)
    complete(s3, upload, [put_part(s3, upload, 1, data[:PART]), put_part(s3, upload, 2, data[PART:])])
    got = s3.get_object(**where, PartNumber=2)
    assert (got["Body"].read(), got["PartsCount"]) == (data[PART:], 2)


def test_complete_only_if_absent(alice, where, upload):
    s3 = alice.s3()
    s3.put_object(**where, Body=b"there")
    part = put_part(s3, upload, 1, b"x")
    with pytest.raises(ClientError) as error:
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]}, IfNoneMatch="*")
    assert error_code(error) == (412, "PreconditionFailed")
    assert s3.get_object(**where)["Body"].read() == b"there"
