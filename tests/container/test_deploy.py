"""What else deploy/ holds, judged by the programs that will read it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from images import ROOT

DEPLOY = ROOT / "deploy"
# systemd's own scale, from 0 to 100: below 20 it calls a service well protected.
EXPOSURE = 20


def judged(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


@pytest.fixture
def promtool():
    own = Path(os.environ["CONTAINER_FOLDER"]) / "promtool"
    found = shutil.which("promtool") or (str(own) if own.exists() else None)
    if not found:
        pytest.skip("promtool is not there, and apt-get could not fetch it")
    return found


@pytest.fixture
def unit(tmp_path):
    """The unit with the gateway where it is here, since systemd looks whether it is there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not there, and apt-get could not install it")
    text = (DEPLOY / "bucketwarden.service").read_text()
    installed = "ExecStart=/usr/local/bin/bucketwarden "
    assert installed in text
    path = tmp_path / "bucketwarden.service"
    path.write_text(text.replace(installed, f"ExecStart={os.environ['BUCKETWARDEN_BIN']} "))
    return path


def test_systemd_takes_the_unit_without_a_word(unit):
    assert judged("systemd-analyze", "verify", unit) == ""


def test_the_unit_is_well_protected(unit):
    judged("systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", unit)


def test_the_unit_waits_for_the_drain():
    unit = (DEPLOY / "bucketwarden.service").read_text()
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)
    (drain,) = re.findall(r'^drain_timeout = "(\d+)s"', (ROOT / "config.toml.example").read_text(), re.MULTILINE)
    assert int(stop) > int(drain)


def test_the_alert_rules_are_rules(promtool):
    assert "SUCCESS" in judged(promtool, "check", "rules", DEPLOY / "alerts.yml")


def test_the_alert_rules_alert(promtool, tmp_path):
    for path in (DEPLOY / "alerts.yml", Path(__file__).with_name("alerts_test.yml")):
        shutil.copy2(path, tmp_path)
    judged(promtool, "test", "rules", tmp_path / "alerts_test.yml")


def test_the_guides_json_is_json():
    blocks = re.findall(r"```json\n(.*?)```", (DEPLOY / "oci.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        json.loads(block)
