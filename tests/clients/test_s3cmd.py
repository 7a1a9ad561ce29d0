"""s3cmd."""

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
    "deep/~q&;=@.txt": b"q",
}


@pytest.fixture
def s3cmd(command, alice, home):
    return _s3cmd(command, alice, home)


def _s3cmd(command, user, home):
    config = home / f"{user.name}.s3cfg"
    config.write_text(
        f"[default]\naccess_key = {user.access_key}\nsecret_key = {user.secret_key}\n"
        f"host_base = {user.address}\nhost_bucket = {user.address}\nbucket_location = {user.region}\n"
        f"use_https = {user.secure}\n" + (f"ca_certs_file = {user.authority}\n" if user.secure else "")
    )
    return command("s3cmd", "--config", str(config), "--no-progress", user=user)


@pytest.fixture
def tree(home):
    for name, data in TREE.items():
        path = home / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_put_get_info_del(s3cmd, alice, folder, home):
    data, there = content(MIB, seed=10), f"s3://{alice.datasets}/{folder}/sp ace+%.bin"
    (home / "up").write_bytes(data)
    s3cmd("put", "up", there)
    s3cmd("get", there, "down")
    assert (home / "down").read_bytes() == data
    assert str(len(data)) in s3cmd("info", there)
    s3cmd("cp", there, f"s3://{alice.models}/{folder}/copied")
    s3cmd("mv", f"s3://{alice.models}/{folder}/copied", f"s3://{alice.models}/{folder}/moved")
    listed = s3cmd("ls", f"s3://{alice.models}/{folder}/")
    assert "moved" in listed and "copied" not in listed
    s3cmd("del", there)
    assert s3cmd("ls", f"s3://{alice.datasets}/{folder}/").strip() == ""


def test_64_mib(s3cmd, alice, folder, home):
    (home / "up").write_bytes(content(64 * MIB, seed=11))
    s3cmd("put", "up", f"s3://{alice.models}/{folder}/big")  # five parts by default
    s3cmd("get", f"s3://{alice.models}/{folder}/big", "down")
    assert sha256((home / "down").read_bytes()) == sha256((home / "up").read_bytes())
    s3cmd("del", f"s3://{alice.models}/{folder}/big")


def test_sync(s3cmd, alice, folder, home, tree):
    there = f"s3://{alice.datasets}/{folder}/"
    s3cmd("sync", "tree/", there)
    listed = s3cmd("ls", "--recursive", there)
    assert all(name in listed for name in TREE)
    assert "upload:" not in s3cmd("sync", "tree/", there)
    (home / "tree/a.txt").unlink()
    s3cmd("sync", "--delete-removed", "tree/", there)
    (home / "back").mkdir()
    s3cmd("sync", there, "back/")
    assert files_under(home / "back") == {name: data for name, data in TREE.items() if name != "a.txt"}
    assert "DIR" in s3cmd("ls", there)
    s3cmd("del", "--recursive", "--force", there)
    assert s3cmd("ls", "--recursive", there).strip() == ""


@pytest.mark.gateway_only
def test_buckets(s3cmd):
    assert sorted(line.split()[-1] for line in s3cmd("ls").splitlines()) == [
        "s3://datasets",
        "s3://logs",
        "s3://models",
    ]


@pytest.mark.gateway_only
def test_another_user_sees_nothing(s3cmd, command, bob, folder, home, tree):
    s3cmd("put", "tree/a.txt", f"s3://datasets/{folder}/a.txt")
    other = _s3cmd(command, bob, home)
    assert other("ls", "--recursive", f"s3://datasets/{folder}").strip() == ""
    assert "does not exist" in other("get", f"s3://datasets/{folder}/a.txt", "x", fails=True)
