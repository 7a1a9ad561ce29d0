"""The dependency policy of deny.toml over the locked tree: licences, banned crates, sources.

Does what `cargo deny check bans licenses sources` does with that file, for machines without cargo-deny. Prints every
breach and exits 1 if there is one.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def breaches(policy, metadata, packages):
    allowed = set(policy["licenses"]["allow"])
    banned = {entry["crate"]: entry["reason"] for entry in policy["bans"]["deny"]}
    sources = {f"registry+{url}" for url in policy["sources"]["allow-registry"]}
    own = set(metadata["workspace_members"])
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if package["name"] in banned:
            yield f"{name}: banned, {banned[package['name']]}"
        if package["id"] not in own and package["source"] not in sources:
            yield f"{name}: comes from {package['source'] or 'a path'}"
        expression = package["license"]
        if not expression:
            yield f"{name}: names no licence"
        elif not permits(expression, allowed):
            yield f"{name}: licence {expression}"
        if package["id"] in own:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*":
                    yield f"{name}: any version of {dependency['name']}"


def built():
    """Name and version of what is really built on some platform: `cargo metadata` also knows what no feature asks for."""
    words = ["tree", "--locked", "--all-features", "--target", "all", "--edges", "normal,build,dev"]
    lines = cargo(*words, "--prefix", "none", "--format", "{p}").splitlines()
    return {tuple(line.split()[:2]) for line in lines if line}


def cargo(*words):
    return subprocess.run(["cargo", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def permits(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences (`/` is how old crates wrote OR)."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def one_of():
        nonlocal position
        met = all_of()
        while position < len(words) and words[position] == "OR":
            position += 1
            met = all_of() or met
        return met

    def all_of():
        nonlocal position
        met = licence()
        while position < len(words) and words[position] == "AND":
            position += 1
            met = licence() and met
        return met

    def licence():
        nonlocal position
        word = words[position]
        position += 1
        if word == "(":
            met = one_of()
            position += 1
            return met
        if words[position : position + 1] == ["WITH"]:
            word = f"{word} WITH {words[position + 1]}"
            position += 2
        return word in allowed

    return one_of()


def main():
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--locked", "--all-features"))
    there = built()
    packages = [package for package in metadata["packages"] if (package["name"], f"v{package['version']}") in there]
    found = list(breaches(policy, metadata, packages))
    print("\n".join(found) or f"{len(packages)} crates keep to deny.toml")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
