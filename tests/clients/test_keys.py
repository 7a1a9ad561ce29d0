"""boto3: names come back as they were put, in every operation and every form of listing."""

import pytest
from botocore.exceptions import ClientError

from corpus import ODD_KEYS, listing, odd_key
from known_upstream import holdable
from users import error_code



@pytest.mark.parametrize("name", ODD_KEYS)
def test_odd_key_in_every_operation(alice, folder, name):
    s3, key, bucket = alice.s3(), odd_key(name, folder), alice.datasets
    where, copy = {"Bucket": bucket, "Key": key}, {"Bucket": bucket, "Key": f"{key}.copy"}
    data = key.encode()
    s3.put_object(**where, Body=data)
    assert s3.head_object(**where)["ContentLength"] == len(data)
    assert s3.get_object(**where)["Body"].read() == data
    for answer in (
        s3.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/"),
        s3.list_objects(Bucket=bucket, Prefix=key),
        alice.plain_listing_s3().list_objects_v2(Bucket=bucket, Prefix=f"{folder}/"),
        alice.plain_listing_s3().list_objects(Bucket=bucket, Prefix=key),
    ):
        assert [(found["Key"], found["Size"]) for found in answer.get("Contents", [])] == [(key, len(data))]
    s3.copy_object(**copy, CopySource=where)
    assert s3.get_object(**copy)["Body"].read() == data
    s3.delete_object(**where)
    with pytest.raises(ClientError) as error:
        s3.head_object(**where)
    assert error_code(error)[0] == 404
    assert s3.get_object(**copy)["Body"].read() == data
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": copy["Key"]}]})
    assert [deleted["Key"] for deleted in answer["Deleted"]] == [copy["Key"]]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/")


@pytest.mark.parametrize("name", ODD_KEYS)
def test_odd_key_in_a_multipart_upload(alice, folder, name):
    s3, where = alice.s3(), {"Bucket": alice.models, "Key": odd_key(name, folder)}
    made = s3.create_multipart_upload(**where)
    assert (made["Bucket"], made["Key"]) == (where["Bucket"], where["Key"])
    upload = {"UploadId": made["UploadId"]}
    etag = s3.upload_part(**where, **upload, PartNumber=1, Body=b"part")["ETag"]
    listed = s3.list_parts(**where, **upload)
    assert (listed["Bucket"], listed["Key"], len(listed["Parts"])) == (where["Bucket"], where["Key"], 1)
    uploads = s3.list_multipart_uploads(Bucket=where["Bucket"], Prefix=f"{folder}/")["Uploads"]
    assert [(found["Key"], found["UploadId"]) for found in uploads] == [(where["Key"], made["UploadId"])]
    done = s3.complete_multipart_upload(
        **where, **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}
    )
    assert (done["Bucket"], done["Key"]) == (where["Bucket"], where["Key"])
    assert s3.get_object(**where)["Body"].read() == b"part"
    s3.delete_object(**where)


@pytest.fixture(scope="module")
def shelf_of():
    """Per target: a folder of alice's that holds the whole corpus, or what of it the upstream can hold."""
    shelves = {}

    def shelf(target):
        if target.name not in shelves:
            alice, folder = target.users["alice"], f"shelf-{target.name}"
            keys = [odd_key(name, folder) for name in holdable(target.kind)]
            for key in keys:
                alice.s3().put_object(Bucket=alice.datasets, Key=key, Body=b"x")
            shelves[target.name] = (folder, keys)
        return shelves[target.name]

    return shelf


@pytest.fixture
def shelf(shelf_of, target):
    return shelf_of(target)


@pytest.fixture(params=["encoded", "plain"])
def lister(request, alice):
    return alice.s3() if request.param == "encoded" else alice.plain_listing_s3()

MOST_PAGES = 100


def pages_v2(s3, **parameters):
    for _ in range(MOST_PAGES):
        page = s3.list_objects_v2(**parameters)
        yield page
        if not page["IsTruncated"]:
            return
        parameters["ContinuationToken"] = page["NextContinuationToken"]
    pytest.fail("the listing does not end")


def pages_v1(s3, **parameters):
    for _ in range(MOST_PAGES):
        page = s3.list_objects(**parameters)
        yield page
        if not page["IsTruncated"]:
            return
        # AWS names the next marker only with a delimiter; the last key serves otherwise.
        parameters["Marker"] = page.get("NextMarker") or page["Contents"][-1]["Key"]
    pytest.fail("the listing does not end")

VERSIONS = {"v2": pages_v2, "v1": pages_v1}


def entries(page):
    """A page's keys and common prefixes, as corpus.listing() has them, in S3's order."""
    found = [("key", entry["Key"]) for entry in page.get("Contents", [])]
    found += [("prefix", entry["Prefix"]) for entry in page.get("CommonPrefixes", [])]
    return sorted(found, key=lambda entry: entry[1].encode())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1000, 2, 1])
@pytest.mark.parametrize("delimiter", ["", "/", "a", "datasets/alice/"])
def test_listing(alice, shelf, lister, version, size, delimiter):
    folder, keys = shelf
    prefix = f"{folder}/"
    asked = {"Bucket": alice.datasets, "Prefix": prefix, "MaxKeys": size}
    if delimiter:
        asked["Delimiter"] = delimiter
    pages = list(VERSIONS[version](lister, **asked))
    found = [entry for page in pages for entry in entries(page)]
    assert found == listing(keys, prefix, delimiter)
    for page in pages:
        assert (page["Name"], page["Prefix"], page["MaxKeys"]) == (alice.datasets, prefix, size)
        assert page.get("Delimiter", "") == delimiter
        assert len(entries(page)) <= size
        if version == "v2":
            assert page["KeyCount"] == len(entries(page))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ending", ["", "/d", "/dir/", "/datasets/", "/datasets/alice/", "/100%25", "/caf", "/none", "/a//"])
def test_listing_of_a_prefix(alice, shelf, lister, version, ending):
    folder, keys = shelf
    prefix = folder + ending
    for delimiter in ("", "/"):
        asked = {"Bucket": alice.datasets, "Prefix": prefix}
        if delimiter:
            asked["Delimiter"] = delimiter
        found = [entry for page in VERSIONS[version](lister, **asked) for entry in entries(page)]
        assert found == listing(keys, prefix, delimiter)


@pytest.mark.parametrize("name", ODD_KEYS)
def test_listing_starts_after_a_key(alice, shelf, name):
    folder, keys = shelf
    s3, after, prefix = alice.s3(), odd_key(name, folder), f"{folder}/"
    page = s3.list_objects_v2(Bucket=alice.datasets, Prefix=prefix, StartAfter=after)
    assert page["StartAfter"] == after
    assert entries(page) == listing(keys, prefix, after=after)
    page = s3.list_objects(Bucket=alice.datasets, Prefix=prefix, Marker=after)
    assert page["Marker"] == after
    assert entries(page) == listing(keys, prefix, after=after)


def test_listing_starts_between_keys(alice, shelf):
    folder, keys = shelf
    after = f"{folder}/m"
    page = alice.s3().list_objects_v2(Bucket=alice.datasets, Prefix=f"{folder}/", StartAfter=after)
    assert entries(page) == listing(keys, f"{folder}/", after=after)


def test_a_listing_of_no_keys_at_all(alice, shelf):
    page = alice.s3().list_objects_v2(Bucket=alice.datasets, MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"], entries(page)) == (0, False, [])


def test_the_bucket_itself_is_listed_from_its_root(alice, shelf):
    folder, _ = shelf
    page = alice.s3().list_objects_v2(Bucket=alice.datasets, Delimiter="/", Prefix=folder)
    assert entries(page) == [("prefix", f"{folder}/")]


def test_owner_is_told_on_request(alice, shelf):
    folder, _ = shelf
    page = alice.s3().list_objects_v2(Bucket=alice.datasets, Prefix=f"{folder}/", FetchOwner=True)
    assert all(entry["Owner"]["ID"] for entry in page["Contents"])
    page = alice.s3().list_objects_v2(Bucket=alice.datasets, Prefix=f"{folder}/")
    assert not any("Owner" in entry for entry in page["Contents"])


def test_a_key_too_long(alice, folder):
    with pytest.raises(ClientError) as error:
        alice.s3().put_object(Bucket=alice.datasets, Key="k" * 1025, Body=b"x")
    assert error_code(error) == (400, "KeyTooLongError")


@pytest.mark.gateway_only
def test_the_hidden_prefix_counts_towards_a_keys_length(alice):
    s3, room = alice.s3(), 1024 - len("datasets/alice/")
    key = ("k" * 100 + "/") * (room // 101)  # SeaweedFS takes no longer segments than a file system does
    longest = {"Bucket": alice.datasets, "Key": key + "k" * (room - len(key))}
    s3.put_object(**longest, Body=b"x")
    assert s3.get_object(**longest)["Body"].read() == b"x"
    s3.delete_object(**longest)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=alice.datasets, Key=longest["Key"] + "k", Body=b"x")
    assert error_code(error) == (400, "KeyTooLongError")


@pytest.mark.gateway_only
@pytest.mark.parametrize("key", ["..", ".", "a/../b", "../alice/x", "a/./b", "a/..", "./a"])
def test_dot_segments_are_refused(alice, key):
    for bad in (
        lambda: alice.s3().put_object(Bucket=alice.datasets, Key=key, Body=b"x"),
        lambda: alice.s3().get_object(Bucket=alice.datasets, Key=key),
    ):
        with pytest.raises(ClientError) as error:
            bad()
        assert error_code(error) == (400, "InvalidURI")
