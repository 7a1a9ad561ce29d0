"""One build for all tests. Where it cannot be made, they are skipped, and the reason is said."""

import os
from pathlib import Path

import pytest

import images
from containers import Container

FOLDER = Path(os.environ["CONTAINER_FOLDER"])


@pytest.fixture(scope="session")
def buildah():
    try:
        images.capable()
    except images.Unable as reason:
        pytest.skip(str(reason))
    store = images.Buildah(FOLDER / "buildah")
    if store.folder.exists():
        store.remove()  # of a run that was killed
    yield store
    store.remove()
    left = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(FOLDER) in line]
    assert not left, f"still mounted: {left}"


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    return images.checkout(tmp_path_factory.mktemp("build") / "checkout")


@pytest.fixture(scope="session")
def image(buildah, checkout, tmp_path_factory):
    try:
        system = images.debian(FOLDER)
    except images.Unable as reason:
        pytest.skip(str(reason))
    base = images.distroless(system, tmp_path_factory.mktemp("base") / "root")
    only_files = base.parent / "Dockerfile"
    only_files.write_text("FROM scratch\nCOPY . /\n")
    buildah.build(images.base_image(), base, dockerfile=only_files)
    arguments = {"BINARY": "prebuilt", "COMMIT": images.COMMIT, "SOURCE": images.SOURCE}
    buildah.build(images.NAME, checkout, *(f"--build-arg={name}={value}" for name, value in arguments.items()))
    return images.NAME


@pytest.fixture
def container(buildah, image):
    """Makes containers, which end with the test."""
    made = []

    def make(**how):
        made.append(Container(buildah, image, **how))
        return made[-1]

    yield make
    for one in made:
        one.remove()
