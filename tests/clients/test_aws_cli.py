"""The aws command line."""

import json
import os

import pytest

from corpus import KIB, MIB, content, sha256

pytestmark = pytest.mark.everywhere
LONG_AGO = 1_500_000_000


@pytest.fixture
def aws(command):
    return command("aws")


@pytest.fixture
def tree(home):
    """A folder to upload: names and contents."""
    files = {
        "tree/a.txt": b"a",
        "tree/empty": b"",
        "tree/sp ace/b+c.bin": content(100 * KIB),
        "tree/sp ace/100%25.txt": b"percent",
        "tree/deep/er/é.txt": "é".encode(),
        "tree/deep/~'q&.txt": b"q",
        "tree/large": content(9 * MIB),
    }
    for name, data in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (LONG_AGO, LONG_AGO))  # older than any upload: S3 tells whole seconds
    return {name.removeprefix("tree/"): data for name, data in files.items()}


def files_under(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_cp_both_ways(aws, alice, folder, home):
    data = content(MIB, seed=3)
    (home / "up").write_bytes(data)
    aws("s3", "cp", "up", f"s3://{alice.datasets}/{folder}/sp ace+.bin")
    aws("s3", "cp", f"s3://{alice.datasets}/{folder}/sp ace+.bin", "down")
    assert (home / "down").read_bytes() == data


def test_cp_of_64_mib(aws, alice, folder, home):
    (home / "up").write_bytes(content(64 * MIB, seed=5))
    aws("s3", "cp", "up", f"s3://{alice.models}/{folder}/big")
    aws("s3", "cp", f"s3://{alice.models}/{folder}/big", "down")
    assert sha256((home / "down").read_bytes()) == sha256((home / "up").read_bytes())
    aws("s3", "rm", f"s3://{alice.models}/{folder}/big")


def test_cp_of_a_stream(aws, alice, folder):
    data = content(10 * MIB, seed=6)
    aws("s3", "cp", "-", f"s3://{alice.datasets}/{folder}/stream", stdin=data)
    assert aws.bytes("s3", "cp", f"s3://{alice.datasets}/{folder}/stream", "-") == data


def test_a_tree_is_synced_listed_copied_moved_and_removed(aws, alice, folder, home, tree):
    there = f"s3://{alice.datasets}/{folder}"
    aws("s3", "sync", "tree", f"{there}/one")
    assert aws("s3", "sync", "tree", f"{there}/one").strip() == ""
    (home / "tree/a.txt").unlink()
    (home / "tree/new.txt").write_bytes(b"new")
    tree = {**{name: data for name, data in tree.items() if name != "a.txt"}, "new.txt": b"new"}
    said = aws("s3", "sync", "--delete", "tree", f"{there}/one")
    assert "delete:" in said and "a.txt" in said and "upload:" in said

    listed = aws("s3", "ls", "--recursive", f"{there}/one/")
    assert len(listed.splitlines()) == len(tree)
    assert all(f"{folder}/one/{name}" in listed for name in tree)
    top = aws("s3", "ls", f"{there}/one/")
    assert "PRE deep/" in top and "PRE sp ace/" in top and "new.txt" in top

    aws("s3", "cp", "--recursive", f"{there}/one", f"{there}/two")
    aws("s3", "mv", "--recursive", f"{there}/two", f"s3://{alice.models}/{folder}/three")
    aws("s3", "sync", f"s3://{alice.models}/{folder}/three", "back")
    assert files_under(home / "back") == tree
    assert aws.run("s3", "ls", "--recursive", f"{there}/two/").stdout == b""

    aws("s3", "rm", "--recursive", f"{there}/one")
    assert aws.run("s3", "ls", "--recursive", f"{there}/one/").stdout == b""


def test_empty_files_and_others_take_turns_on_a_connection(aws, alice, folder, home):
    """An empty body is never asked for, and the CLI's botocore cannot read the answer to the next that is."""
    aws("configure", "set", "default.s3.max_concurrent_requests", 1)
    aws("configure", "set", "default.max_attempts", 1)
    files = {f"tree/{number}": b"" if number % 2 else b"full" for number in range(6)}
    for name, data in files.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_bytes(data)
    aws("s3", "cp", "--cli-read-timeout", 10, "--recursive", "tree", f"s3://{alice.datasets}/{folder}")
    aws("s3", "cp", "--recursive", f"s3://{alice.datasets}/{folder}", "back")
    assert files_under(home / "back") == files_under(home / "tree")


def test_api_commands(aws, alice, folder, home):
    (home / "up").write_bytes(b"by api")
    where = ("--bucket", alice.datasets, "--key", f"{folder}/api")
    aws("s3api", "put-object", *where, "--body", "up", "--metadata", "a=1", "--checksum-algorithm", "SHA256")
    head = json.loads(aws("s3api", "head-object", *where))
    assert (head["ContentLength"], head["Metadata"]) == (6, {"a": "1"})
    aws("s3api", "get-object", *where, "--range", "bytes=3-5", "part")
    assert (home / "part").read_bytes() == b"api"
    said = aws("s3api", "get-object", "--bucket", alice.datasets, "--key", f"{folder}/none", "x", fails=True)
    assert "NoSuchKey" in said


@pytest.mark.gateway_only
def test_buckets(aws):
    assert sorted(line.split()[-1] for line in aws("s3", "ls").splitlines()) == ["datasets", "logs", "models"]
    assert "BucketAlreadyOwnedByYou" in aws("s3", "mb", "s3://datasets", fails=True)
    assert "AccessDenied" in aws("s3", "mb", "s3://another", fails=True)


@pytest.mark.gateway_only
def test_presign(aws, alice, folder, curl):
    alice.s3().put_object(Bucket="datasets", Key=f"{folder}/shown", Body=b"shown")
    url = aws("s3", "presign", f"s3://datasets/{folder}/shown").strip()
    assert curl.bytes("--fail", url) == b"shown"


@pytest.mark.gateway_only
def test_another_user_sees_nothing(aws, command, bob, folder, home):
    (home / "up").write_bytes(b"x")
    aws("s3", "cp", "up", f"s3://datasets/{folder}/hers")
    assert command("aws", user=bob).run("s3", "ls", "--recursive", f"s3://datasets/{folder}").stdout == b""
    said = command("aws", user=bob)("s3", "cp", f"s3://datasets/{folder}/hers", "x", fails=True)
    assert "404" in said
