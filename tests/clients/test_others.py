"""s5cmd, minio-py and s3fs: one life of an object with each."""

import io
import json

import pytest

from corpus import MIB, content, sha256

pytestmark = pytest.mark.everywhere


@pytest.fixture
def s5cmd(command, alice):
    return command("s5cmd", S3_ENDPOINT_URL=alice.endpoint)


def test_s5cmd(s5cmd, alice, folder, home):
    there = f"s3://{alice.datasets}/{folder}"
    (home / "tree/deep").mkdir(parents=True)
    # Without spaces: s5cmd sends them as `+` in a copy's source, where S3 means a plus.
    files = {"a.txt": b"a", "deep/b+c%.bin": content(100_000), "deep/é": b"e"}
    for name, data in files.items():
        (home / "tree" / name).write_bytes(data)
    s5cmd("cp", "tree/", f"{there}/one/")
    listed = [json.loads(line) for line in s5cmd("--json", "ls", f"{there}/one/*").splitlines()]
    assert sorted(entry["key"].split(f"{folder}/one/")[1] for entry in listed) == sorted(files)
    s5cmd("sync", f"{there}/one/*", f"{there}/two/")
    assert s5cmd.bytes("cat", f"{there}/two/deep/b+c%.bin") == files["deep/b+c%.bin"]
    s5cmd("cp", "tree/deep/b+c%.bin", f"{there}/sp ace")
    assert s5cmd.bytes("cat", f"{there}/sp ace") == files["deep/b+c%.bin"]
    s5cmd("mv", f"{there}/two/a.txt", f"{there}/three")
    s5cmd("rm", f"{there}/one/*", f"{there}/two/*")
    assert s5cmd("ls", f"{there}/t*").split()[-1] == "three"


def test_s5cmd_64_mib(s5cmd, alice, folder, home):
    (home / "up").write_bytes(content(64 * MIB, seed=12))
    there = f"s3://{alice.models}/{folder}/big"
    s5cmd("cp", "up", there)  # two parts of 50 MB
    s5cmd("cp", there, "down")
    assert sha256((home / "down").read_bytes()) == sha256((home / "up").read_bytes())
    s5cmd("rm", there)


@pytest.fixture
def minio(alice):
    import urllib3
    from minio import Minio

    trust = {"cert_reqs": "CERT_REQUIRED", "ca_certs": str(alice.authority)} if alice.secure else {}
    pool = urllib3.PoolManager(retries=False, timeout=60, **trust)
    return Minio(
        alice.address,
        access_key=alice.access_key,
        secret_key=alice.secret_key,
        secure=alice.secure,
        http_client=pool,
    )


def test_minio_py(minio, alice, folder):
    from minio.commonconfig import CopySource
    from minio.deleteobjects import DeleteObject

    key, data = f"{folder}/sp ace+%é", content(MIB, seed=13)
    minio.put_object(alice.datasets, key, io.BytesIO(data), len(data), metadata={"colour": "blue"})
    stat = minio.stat_object(alice.datasets, key)
    assert (stat.size, stat.metadata["x-amz-meta-colour"]) == (len(data), "blue")
    with minio.get_object(alice.datasets, key, offset=10, length=100) as got:
        assert got.read() == data[10:110]
    minio.copy_object(alice.datasets, f"{folder}/copy", CopySource(alice.datasets, key))
    found = minio.list_objects(alice.datasets, prefix=f"{folder}/", recursive=True)
    assert sorted(entry.object_name for entry in found) == sorted([key, f"{folder}/copy"])
    errors = minio.remove_objects(alice.datasets, [DeleteObject(key), DeleteObject(f"{folder}/copy")])
    assert list(errors) == []
    assert list(minio.list_objects(alice.datasets, prefix=f"{folder}/")) == []


def test_minio_py_multipart_of_unknown_length(minio, alice, folder):
    data = content(17 * MIB, seed=14)
    minio.put_object(alice.models, f"{folder}/stream", io.BytesIO(data), -1, part_size=5 * MIB)
    with minio.get_object(alice.models, f"{folder}/stream") as got:
        assert got.read() == data
    minio.remove_object(alice.models, f"{folder}/stream")


@pytest.fixture
def filesystem(alice):
    import s3fs

    more = {"verify": str(alice.authority)} if alice.secure else {}
    return s3fs.S3FileSystem(
        key=alice.access_key,
        secret=alice.secret_key,
        endpoint_url=alice.endpoint,
        client_kwargs={"region_name": alice.region, **more},
        skip_instance_cache=True,
        use_listings_cache=False,
    )


def test_s3fs(filesystem, alice, folder):
    root, data = f"{alice.datasets}/{folder}", content(11 * MIB, seed=15)
    with filesystem.open(f"{root}/sp ace/large+%.bin", "wb", block_size=5 * MIB) as file:
        file.write(data)
    filesystem.pipe(f"{root}/small.txt", b"small")
    with filesystem.open(f"{root}/sp ace/large+%.bin", "rb") as file:
        file.seek(-100, 2)
        assert file.read() == data[-100:]
    assert sorted(filesystem.find(root)) == [f"{root}/small.txt", f"{root}/sp ace/large+%.bin"]
    assert sorted(filesystem.ls(root, detail=False)) == [f"{root}/small.txt", f"{root}/sp ace"]
    assert filesystem.du(root) == len(data) + 5
    filesystem.mv(f"{root}/small.txt", f"{root}/moved.txt")
    filesystem.cp(f"{root}/sp ace/large+%.bin", f"{root}/copy.bin")
    assert filesystem.cat(f"{root}/copy.bin") == data
    filesystem.rm(root, recursive=True)
    assert not filesystem.exists(root)
