"""rclone."""

import json

import pytest

from corpus import KIB, MIB, content, sha256
from test_aws_cli import files_under

pytestmark = pytest.mark.everywhere

TREE = {
    "a.txt": b"a",
    "empty": b"",
    "sp ace/b+c.bin": content(100 * KIB),
    "sp ace/100%25.txt": b"percent",
    "deep/er/é.txt": "é".encode(),
    "deep/~'q&;=@.txt": b"q",
    "star*[x]{y}.txt": b"star",
    "some.bin": content(6 * MIB),
}


@pytest.fixture
def rclone(command, alice, home):
    return _rclone(command, alice, home)


def _rclone(command, user, home):
    config = home / f"{user.name}.conf"
    config.write_text(
        "[s3]\ntype = s3\nprovider = Other\n"
        f"access_key_id = {user.access_key}\nsecret_access_key = {user.secret_key}\n"
        f"endpoint = {user.endpoint}\nregion = {user.region}\n"
    )
    trust = ("--ca-cert", user.authority) if user.authority else ()
    return command("rclone", "--config", str(config), "--retries", "1", *map(str, trust), user=user)


@pytest.fixture
def tree(home):
    for name, data in TREE.items():
        path = home / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def listed(rclone, there):
    return sorted(name for name in rclone("lsf", "-R", "--files-only", there).splitlines())


def test_a_tree_is_copied_checked_synced_moved_and_deleted(rclone, alice, folder, home, tree):
    there = f"s3:{alice.datasets}/{folder}"
    rclone("copy", "tree", f"{there}/one")
    rclone("check", "tree", f"{there}/one")
    rclone("check", "--download", "tree", f"{there}/one")
    assert listed(rclone, f"{there}/one") == sorted(TREE)
    again = rclone.run("copy", "-v", "--stats=0", "tree", f"{there}/one").stderr.decode()
    assert "Copied" not in again  # times are kept in metadata, so nothing is new

    (home / "tree/a.txt").unlink()
    (home / "tree/new.txt").write_bytes(b"new")
    rclone("sync", "tree", f"{there}/one")
    assert listed(rclone, f"{there}/one") == sorted({*TREE, "new.txt"} - {"a.txt"})

    rclone("sync", f"{there}/one", f"{there}/two")
    rclone("check", f"{there}/one", f"{there}/two")
    rclone("moveto", f"{there}/two/sp ace/b+c.bin", f"s3:{alice.models}/{folder}/mo ved+%.bin")
    assert rclone.bytes("cat", f"s3:{alice.models}/{folder}/mo ved+%.bin") == TREE["sp ace/b+c.bin"]
    assert "sp ace/b+c.bin" not in listed(rclone, f"{there}/two")

    rclone("copy", f"{there}/one", "back")
    assert files_under(home / "back") == files_under(home / "tree")
    size = json.loads(rclone("size", "--json", f"{there}/one"))
    assert (size["count"], size["bytes"]) == (len(TREE), sum(map(len, files_under(home / "tree").values())))

    rclone("delete", f"{there}/one")
    assert listed(rclone, f"{there}/one") == []
    rclone("purge", f"{there}/two")
    assert listed(rclone, there) == []


def test_64_mib(rclone, alice, folder, home):
    (home / "up").write_bytes(content(64 * MIB, seed=7))
    rclone("copyto", "up", f"s3:{alice.models}/{folder}/big")
    rclone("copyto", f"s3:{alice.models}/{folder}/big", "down")
    assert sha256((home / "down").read_bytes()) == sha256((home / "up").read_bytes())
    rclone("deletefile", f"s3:{alice.models}/{folder}/big")


def test_a_stream_goes_up_in_parts(rclone, alice, folder):
    data = content(12 * MIB, seed=8)
    rclone("rcat", f"s3:{alice.datasets}/{folder}/stream", stdin=data)
    assert rclone.bytes("cat", f"s3:{alice.datasets}/{folder}/stream") == data
    assert rclone.bytes("cat", "--offset", "1000", "--count", "50", f"s3:{alice.datasets}/{folder}/stream") == data[1000:1050]


@pytest.mark.heavy
def test_210_mib_are_multipart_by_default(rclone, alice, folder, home):
    (home / "up").write_bytes(content(210 * MIB, seed=9))
    rclone("copyto", "up", f"s3:{alice.models}/{folder}/huge")
    rclone("copyto", f"s3:{alice.models}/{folder}/huge", "down")
    assert sha256((home / "down").read_bytes()) == sha256((home / "up").read_bytes())
    rclone("deletefile", f"s3:{alice.models}/{folder}/huge")


def test_md5_is_told(rclone, alice, folder):
    import hashlib

    alice.s3().put_object(Bucket=alice.datasets, Key=f"{folder}/x", Body=b"hashed")
    assert rclone("md5sum", f"s3:{alice.datasets}/{folder}").split()[0] == hashlib.md5(b"hashed").hexdigest()


@pytest.mark.gateway_only
def test_buckets(rclone):
    assert rclone("lsf", "s3:").split() == ["datasets/", "logs/", "models/"]


@pytest.mark.gateway_only
def test_another_user_sees_nothing(rclone, command, bob, folder, home, tree):
    rclone("copy", "tree", f"s3:datasets/{folder}")
    other = _rclone(command, bob, home)
    assert other.run("lsf", "-R", f"s3:datasets/{folder}").stdout == b""
    other("copy", "tree/deep", f"s3:datasets/{folder}")
    assert listed(rclone, f"s3:datasets/{folder}") == sorted(TREE)
