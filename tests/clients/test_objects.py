"""boto3: objects as wholes, in pieces and under conditions."""

import datetime
import io

import pytest
from botocore.exceptions import ClientError

from corpus import GIB, KIB, MIB, Stream, content, sha256
from users import error_code

SIZES = {"empty": 0, "byte": 1, "small": 300, "64KiB+1": 64 * KIB + 1, "1MiB": MIB, "3MiB-1": 3 * MIB - 1}


@pytest.fixture
def thing(alice, folder):
    """A small object with a known content, and its key."""
    key, data = f"{folder}/thing.bin", content(10_000)
    answer = alice.s3().put_object(Bucket=alice.datasets, Key=key, Body=data)
    return {"Bucket": alice.datasets, "Key": key}, data, answer["ETag"]


@pytest.mark.everywhere
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_put_head_get_delete(alice, folder, size):
    s3, where, data = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/{size}"}, content(size)
    etag = s3.put_object(**where, Body=data)["ETag"]
    head = s3.head_object(**where)
    assert (head["ContentLength"], head["ETag"]) == (size, etag)
    got = s3.get_object(**where)
    assert got["Body"].read() == data
    assert (got["ContentLength"], got["ETag"]) == (size, etag)
    assert s3.delete_object(**where)["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(ClientError) as error:
        s3.get_object(**where)
    assert error_code(error) == (404, "NoSuchKey")
    with pytest.raises(ClientError) as error:
        s3.head_object(**where)
    assert error_code(error)[0] == 404


@pytest.mark.everywhere
def test_a_64_mib_file_goes_up_and_down_in_boto3s_own_parts(target, alice, folder, tmp_path):
    s3, key, size = alice.s3(), f"{folder}/64MiB", 64 * MIB
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(content(size, seed=64))
    s3.upload_file(str(source), alice.datasets, key)
    head = s3.head_object(Bucket=alice.datasets, Key=key)
    assert head["ContentLength"] == size
    assert target.is_etag_of_parts(head["ETag"], 8)  # 8 MiB each
    s3.download_file(alice.datasets, key, str(copy))
    assert sha256(copy.read_bytes()) == sha256(source.read_bytes())
    s3.delete_object(Bucket=alice.datasets, Key=key)


@pytest.mark.heavy
def test_a_gibibyte_goes_up_and_down_as_a_stream(alice, folder):
    s3, where, source = alice.s3(), {"Bucket": alice.models, "Key": f"{folder}/1GiB"}, Stream(GIB, seed=1)
    s3.upload_fileobj(source, where["Bucket"], where["Key"])
    body, hashed = s3.get_object(**where)["Body"], Stream(0).hash
    for chunk in body.iter_chunks(4 * MIB):
        hashed.update(chunk)
    assert hashed.digest() == source.hash.digest()
    s3.delete_object(**where)


@pytest.mark.heavy
def test_256_mib_in_a_single_put(alice, folder, tmp_path):
    s3, where, path = alice.s3(), {"Bucket": alice.models, "Key": f"{folder}/256MiB"}, tmp_path / "source"
    source = Stream(256 * MIB, seed=2)
    with path.open("wb") as file:
        while block := source.read(4 * MIB):
            file.write(block)
    with path.open("rb") as file:
        s3.put_object(**where, Body=file)
    hashed = Stream(0).hash
    for chunk in s3.get_object(**where)["Body"].iter_chunks(4 * MIB):
        hashed.update(chunk)
    assert hashed.digest() == source.hash.digest()
    s3.delete_object(**where)


@pytest.mark.everywhere
def test_an_empty_file_and_then_another_on_one_connection(alice, folder):
    """botocore asks `Expect: 100-continue` for files, empty ones too. A final answer without `100` on a connection that
    stays open makes it misread the next answer there, and wait for its read timeout."""
    s3 = alice.s3(read_timeout=5, max_pool_connections=1)
    for name, data in (("empty", b""), ("next", b"next")):
        s3.put_object(Bucket=alice.datasets, Key=f"{folder}/{name}", Body=io.BytesIO(data))
    assert s3.get_object(Bucket=alice.datasets, Key=f"{folder}/next")["Body"].read() == b"next"


def test_an_overwrite_is_read_at_once(alice, thing):
    where, _, etag = thing
    assert alice.s3().put_object(**where, Body=b"second")["ETag"] != etag
    assert alice.s3().get_object(**where)["Body"].read() == b"second"


def test_deleting_what_is_not_there_succeeds(alice, folder):
    answer = alice.s3().delete_object(Bucket=alice.datasets, Key=f"{folder}/none")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_content_headers_and_metadata_come_back(alice, folder):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/described"}
    described = {
        "ContentType": "text/csv; charset=utf-8",
        "ContentEncoding": "gzip",
        "ContentLanguage": "de-CH",
        "ContentDisposition": "attachment; filename=\"a b.csv\"",
        "CacheControl": "max-age=3600, private",
        "Expires": datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc),
        "Metadata": {"colour": "deep blue", "with-dash": "=?!&<>", "empty-looking": "-", "upper": "MiXed"},
    }
    s3.put_object(**where, Body=b"not really gzip", **described)
    for answer in (s3.head_object(**where), s3.get_object(**where)):
        assert {name: answer.get(name) for name in described} == described


@pytest.mark.everywhere
def test_metadata_of_a_multipart_upload_comes_back(alice, folder, tmp_path):
    path = tmp_path / "source"
    path.write_bytes(content(9 * MIB))
    extra = {"ContentType": "application/x-model", "Metadata": {"epoch": "12"}}
    alice.s3().upload_file(str(path), alice.datasets, f"{folder}/m", ExtraArgs=extra)
    head = alice.s3().head_object(Bucket=alice.datasets, Key=f"{folder}/m")
    assert {name: head[name] for name in extra} == extra


def test_no_content_type_is_binary(alice, folder):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/untyped"}
    s3.put_object(**where, Body=b"x")
    assert s3.head_object(**where)["ContentType"] in ("binary/octet-stream", "application/octet-stream")


def test_response_headers_can_be_overridden(alice, thing):
    where, data, _ = thing
    got = alice.s3().get_object(
        **where,
        ResponseContentType="text/plain",
        ResponseContentDisposition='attachment; filename="x y.txt"',
        ResponseCacheControl="no-store",
    )
    assert got["Body"].read() == data
    assert got["ContentType"] == "text/plain"
    assert got["ContentDisposition"] == 'attachment; filename="x y.txt"'
    assert got["CacheControl"] == "no-store"


RANGES = {
    "first": ("bytes=0-99", 0, 100),
    "one": ("bytes=0-0", 0, 1),
    "middle": ("bytes=1000-1999", 1000, 2000),
    "from": ("bytes=9000-", 9000, 10_000),
    "suffix": ("bytes=-500", 9500, 10_000),
    "suffix-beyond": ("bytes=-20000", 0, 10_000),
    "end-beyond": ("bytes=9990-20000", 9990, 10_000),
    "whole": ("bytes=0-9999", 0, 10_000),
}


@pytest.mark.everywhere
@pytest.mark.parametrize("header, start, end", RANGES.values(), ids=RANGES.keys())
def test_range(alice, thing, header, start, end):
    where, data, _ = thing
    got = alice.s3().get_object(**where, Range=header)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["Body"].read() == data[start:end]
    assert got["ContentRange"] == f"bytes {start}-{end - 1}/10000"
    assert got["ContentLength"] == end - start


def test_range_of_head(alice, thing):
    where, _, _ = thing
    head = alice.s3().head_object(**where, Range="bytes=10-19")
    assert (head["ContentLength"], head["ResponseMetadata"]["HTTPStatusCode"]) == (10, 206)


@pytest.mark.everywhere
@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=20000-20001", "bytes=-0"])
def test_range_beyond_the_end(alice, thing, header):
    where, _, _ = thing
    with pytest.raises(ClientError) as error:
        alice.s3().get_object(**where, Range=header)
    assert error_code(error) == (416, "InvalidRange")


@pytest.mark.everywhere
@pytest.mark.parametrize("operation", ["get_object", "head_object"])
class TestConditionalRead:
    PAST = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)

    def test_if_match(self, alice, thing, operation):
        where, _, etag = thing
        read = getattr(alice.s3(), operation)
        assert read(**where, IfMatch=etag)["ETag"] == etag
        with pytest.raises(ClientError) as error:
            read(**where, IfMatch='"0123456789abcdef0123456789abcdef"')
        assert error_code(error)[0] == 412

    def test_if_none_match(self, alice, thing, operation):
        where, _, etag = thing
        read = getattr(alice.s3(), operation)
        assert read(**where, IfNoneMatch='"0123456789abcdef0123456789abcdef"')["ETag"] == etag
        with pytest.raises(ClientError) as error:
            read(**where, IfNoneMatch=etag)
        assert error_code(error)[0] == 304

    def test_if_modified_since(self, alice, thing, operation):
        where, _, etag = thing
        read = getattr(alice.s3(), operation)
        assert read(**where, IfModifiedSince=self.PAST)["ETag"] == etag
        modified = read(**where)["LastModified"]
        with pytest.raises(ClientError) as error:
            read(**where, IfModifiedSince=modified)
        assert error_code(error)[0] == 304

    def test_if_unmodified_since(self, alice, thing, operation):
        where, _, etag = thing
        read = getattr(alice.s3(), operation)
        assert read(**where, IfUnmodifiedSince=read(**where)["LastModified"])["ETag"] == etag
        with pytest.raises(ClientError) as error:
            read(**where, IfUnmodifiedSince=self.PAST)
        assert error_code(error)[0] == 412


def test_put_only_if_absent(alice, folder):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/once"}
    s3.put_object(**where, Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=b"second", IfNoneMatch="*")
    assert error_code(error) == (412, "PreconditionFailed")
    assert s3.get_object(**where)["Body"].read() == b"first"


def test_put_only_if_unchanged(alice, thing):
    where, _, etag = thing
    s3 = alice.s3()
    s3.put_object(**where, Body=b"second", IfMatch=etag)
    with pytest.raises(ClientError) as error:
        s3.put_object(**where, Body=b"third", IfMatch=etag)
    assert error_code(error) == (412, "PreconditionFailed")
    assert s3.get_object(**where)["Body"].read() == b"second"


@pytest.mark.everywhere
def test_copy_keeps_content_and_metadata(alice, folder):
    s3, source = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/from"}
    s3.put_object(**source, Body=b"original", ContentType="text/plain", Metadata={"a": "1"})
    made = s3.copy_object(Bucket=alice.models, Key=f"{folder}/to", CopySource=source)
    got = s3.get_object(Bucket=alice.models, Key=f"{folder}/to")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"original", "text/plain", {"a": "1"})
    assert made["CopyObjectResult"]["ETag"] == got["ETag"]


def test_copy_replaces_metadata(alice, folder):
    s3, where = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/self"}
    s3.put_object(**where, Body=b"original", Metadata={"a": "1"})
    s3.copy_object(
        **where, CopySource=where, MetadataDirective="REPLACE", Metadata={"b": "2"}, ContentType="text/html"
    )
    got = s3.get_object(**where)
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"original", {"b": "2"}, "text/html")


def test_copy_under_a_condition(alice, thing, folder):
    where, data, etag = thing
    s3, to = alice.s3(), {"Bucket": alice.datasets, "Key": f"{folder}/copy"}
    with pytest.raises(ClientError) as error:
        s3.copy_object(**to, CopySource=where, CopySourceIfMatch='"0123456789abcdef0123456789abcdef"')
    assert error_code(error) == (412, "PreconditionFailed")
    s3.copy_object(**to, CopySource=where, CopySourceIfMatch=etag)
    assert s3.get_object(**to)["Body"].read() == data


def test_copy_of_what_is_not_there(alice, folder):
    with pytest.raises(ClientError) as error:
        alice.s3().copy_object(
            Bucket=alice.datasets, Key=f"{folder}/to", CopySource={"Bucket": alice.datasets, "Key": f"{folder}/no"}
        )
    assert error_code(error) == (404, "NoSuchKey")


@pytest.mark.everywhere
def test_a_thousand_keys_in_one_delete(alice, folder):
    s3, keys = alice.s3(), [f"{folder}/{number:04} +%é" for number in range(1000)]
    for key in keys[::100]:
        s3.put_object(Bucket=alice.datasets, Key=key, Body=b"x")
    answer = s3.delete_objects(Bucket=alice.datasets, Delete={"Objects": [{"Key": key} for key in keys]})
    assert not answer.get("Errors")
    assert sorted(deleted["Key"] for deleted in answer["Deleted"]) == sorted(keys)
    assert s3.list_objects_v2(Bucket=alice.datasets, Prefix=f"{folder}/")["KeyCount"] == 0


def test_a_quiet_multi_delete_says_nothing(alice, thing):
    where, _, _ = thing
    answer = alice.s3().delete_objects(
        Bucket=where["Bucket"], Delete={"Objects": [{"Key": where["Key"]}], "Quiet": True}
    )
    assert not answer.get("Deleted") and not answer.get("Errors")


@pytest.mark.gateway_only
@pytest.mark.everywhere
def test_every_answer_names_the_platforms_uri(alice, folder):
    s3, key = alice.s3(), f"{folder}/named/data.csv"
    where = {"Bucket": alice.datasets, "Key": key}
    answers = {"put": s3.put_object(**where, Body=b"x"), "head": s3.head_object(**where)}
    answers["get"] = s3.get_object(**where)
    answers["copy"] = s3.copy_object(**where, CopySource=where, MetadataDirective="REPLACE")
    upload = s3.create_multipart_upload(**where)["UploadId"]
    etag = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"y")["ETag"]
    answers["complete"] = s3.complete_multipart_upload(
        **where, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}
    )
    for operation, answer in answers.items():
        uri = answer["ResponseMetadata"]["HTTPHeaders"].get("x-bucketwarden-uri", "")
        scheme, _, rest = uri.partition("://")
        assert scheme == "darkstorage", operation
        assert rest.split("/", 1)[1] == f"datasets/alice/{key}", operation


def test_head_as_boto3_waits_for_it(alice, thing):
    where, _, _ = thing
    alice.s3().get_waiter("object_exists").wait(**where, WaiterConfig={"Delay": 1, "MaxAttempts": 1})


def test_part_number_of_a_single_put(alice, thing):
    where, data, _ = thing
    assert alice.s3().get_object(**where, PartNumber=1)["Body"].read() == data
