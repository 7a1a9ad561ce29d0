"""The image, built as a user builds it but for two things: no registry is asked, so a root file system made by
debootstrap has the base image's name; and the gateway is the one in `BUCKETWARDEN_BIN`, not compiled again."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
NAME = "bucketwarden-under-test"
COMMIT, SOURCE = "0123456789ab", "https://example.com/bucketwarden"
# What a checkout does not hold, by its top-level name.
UNTRACKED = shutil.ignore_patterns("target", ".git", ".venv", "bucketwarden-data", "__pycache__")
# Of the packages that the base image holds, those whose libraries a Rust program loads.
PACKAGES = ("libc6", "libgcc-s1")
NONROOT = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"


class Unable(Exception):
    """Why no image can be built or run on this machine."""


def instructions():
    """The Dockerfile's lines as pairs of instruction and arguments."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(re.split(r"\s+", line.strip(), maxsplit=1)) for line in lines]


def base_image():
    return [words for name, words in instructions() if name == "FROM"][-1]


def capable():
    """Raises Unable where this machine lacks what a container takes."""
    if os.geteuid() != 0:
        raise Unable("not root, so neither mounts nor chroot")
    for program in ("buildah", "debootstrap", "unshare", "nsenter"):
        if not shutil.which(program):
            raise Unable(f"{program} is not there, and apt-get could not install it")
    tried = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if tried.returncode:
        raise Unable(f"no namespaces: {tried.stderr.decode().strip()}")


def debian(folder):
    """A minimal Debian 12, kept from one run to the next."""
    finished, unfinished = folder / "debian", folder / "debian.unfinished"
    if not finished.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", unfinished, _mirror()]
        made = subprocess.run(command, capture_output=True, check=False)
        if made.returncode:
            said = (made.stdout + made.stderr).decode(errors="replace").strip().splitlines()
            raise Unable(f"debootstrap: {' / '.join(said[-2:])}")
        unfinished.rename(finished)
    return finished


def _mirror():
    """Where apt gets bookworm here."""
    form = ["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"]
    listed = subprocess.run(form, capture_output=True, check=False).stdout.decode().split("\n")
    sites = [line.split(" ", 1)[1] for line in listed if line.startswith("bookworm ")]
    return sites[0] if sites else "http://deb.debian.org/debian"


def distroless(system, folder):
    """Of `system` what the base image has: libraries, certificates and users, but no shell nor any other program. What
    needs more than that fails here as it would there."""
    folder.mkdir()
    for link in ("lib", "lib64"):
        (folder / link).symlink_to(os.readlink(system / link))
    for directory in ("dev", "etc", "home", "proc", "run", "sys", "tmp", "usr/lib", "usr/lib64", "var/lib"):
        (folder / directory).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    for package in PACKAGES:
        (listing,) = (system / "var/lib/dpkg/info").glob(f"{package}*.list")
        for name in listing.read_text().split("\n"):
            if "/lib" in name and not name.startswith("/usr/share"):
                _copy(system, folder, name.lstrip("/"))
    for name in ("etc/ssl/certs/ca-certificates.crt", "etc/nsswitch.conf"):
        _copy(system, folder, name)
    (folder / "etc/passwd").write_text(NONROOT)
    return folder


def _copy(system, folder, name):
    source = system / name
    if source.is_symlink() or source.is_file():
        # Through the links of the merged /usr.
        target = folder / source.parent.resolve().relative_to(system) / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_symlink():
            shutil.copy2(source, target, follow_symlinks=False)


@dataclass(frozen=True)
class Buildah:
    """Storage of its own, which goes with its folder."""

    folder: Path

    def __call__(self, *words, stdin=None):
        places = ["--root", self.folder / "storage", "--runroot", self.folder / "run", "--storage-driver", "vfs"]
        command = [str(word) for word in ("buildah", *places, *words)]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=280, check=False)
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, f"{' '.join(command)}\nexit {done.returncode}\n{said[-6000:]}"
        return done.stdout.decode().strip()

    def build(self, name, context, *options, dockerfile=None):
        source = ["--file", dockerfile] if dockerfile else []
        words = ["build", "--isolation=chroot", "--format=docker", "--pull-never", "--tag", name]
        self(*words, *source, *options, context)

    def config(self, name):
        """What a container runtime is told of an image."""
        return json.loads(self("inspect", "--type=image", name))["Docker"]["config"]

    def container(self, name):
        """A new container of an image: its id, and where its root file system is."""
        container = self("from", "--pull-never", name)
        return container, Path(self("mount", container))

    def remove(self):
        self("rm", "--all")
        self("rmi", "--all", "--force")
        shutil.rmtree(self.folder)


def checkout(folder):
    """A clean checkout with the built gateway where `cargo build --release` leaves it."""
    shutil.copytree(ROOT, folder, ignore=UNTRACKED)
    release = folder / "target" / "release"
    release.mkdir(parents=True)
    shutil.copy2(os.environ["BUCKETWARDEN_BIN"], release / "bucketwarden")
    return folder
