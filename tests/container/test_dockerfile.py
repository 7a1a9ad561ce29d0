"""What can be judged of the Dockerfile without building it, and what a builder is given."""

import json
import subprocess
import tomllib

import pytest

from images import ROOT, instructions

BAIT = (".env.local", "config.toml", "state.redb", "secrets/admin_token", ".git/config", "target/debug/deps/some")


def test_the_compiler_is_the_one_that_the_package_asks_for():
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    images = [words.split()[0] for name, words in instructions() if name == "FROM"]
    assert f"docker.io/library/rust:{package['rust-version']}-bookworm" in images


def test_every_image_has_a_registry_and_a_tag():
    stages = {words.split()[2] for name, words in instructions() if name == "FROM" and " AS " in words}
    images = {words.split()[0] for name, words in instructions() if name == "FROM"} - stages
    for image in images - {"scratch", "${BINARY}"}:
        registry, _, rest = image.partition("/")
        assert "." in registry and rest.partition(":")[2] not in ("", "latest"), image


def test_the_builder_gets_what_cargo_needs_and_no_secret(buildah, checkout, tmp_path):
    for name in BAIT:
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a secret, or a gigabyte")
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")
    buildah.build("context", checkout, dockerfile=everything)
    container, root = buildah.container("context")
    files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    assert not files & set(BAIT)
    top = {name.split("/")[0] for name in files}
    assert top == {"Cargo.toml", "Cargo.lock", "src", "benches", "tests", "deploy", "target"}
    assert {name for name in files if name.startswith(("deploy/", "target/"))} == {
        "deploy/container.toml",
        "target/release/bucketwarden",
    }
    command = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1"]
    read = subprocess.run(command, cwd=root, capture_output=True, check=False)
    assert read.returncode == 0, read.stderr.decode()
    (package,) = json.loads(read.stdout)["packages"]
    missing = [target["src_path"] for target in package["targets"] if not (root / target["src_path"]).exists()]
    assert not missing
    buildah("umount", container)
    buildah("rm", container)


@pytest.mark.parametrize("instruction", ["USER", "ENTRYPOINT", "HEALTHCHECK", "STOPSIGNAL", "VOLUME"])
def test_the_last_stage_says(instruction):
    names = [name for name, _ in instructions()]
    last = len(names) - names[::-1].index("FROM")
    assert names[last:].count(instruction) == 1
