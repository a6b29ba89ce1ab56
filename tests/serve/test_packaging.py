"""What is in deploy/, and a service that owns nothing: no home, no folder, no rights."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from serve.control import longest_end
from serve.home import choose_home
from serve.settings import read_settings
from tests.photos import ROOT

DEPLOY = ROOT / "deploy"
NOBODY = 65534


def unit():
    """The systemd unit's (name, value) pairs."""
    lines = (DEPLOY / "alexnet.service").read_text("utf-8").splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and not line.startswith("#")]


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["alexnet"]


def settings_in(name):
    """Every setting that a file names, also in its comments."""
    return set(re.findall(r"ALEXNET_[A-Z_]+", (DEPLOY / name).read_text("utf-8")))


@pytest.mark.parametrize("name", ["alexnet.service", "compose.yaml"])
def test_the_settings_named_there_exist(name):
    samples = {
        "ALEXNET_KEYS": "/keys",
        "ALEXNET_MODEL": "/model",
        "ALEXNET_TIMEOUT": "50",
        "ALEXNET_MAX_UPLOADS": "400MB",
        "ALEXNET_MAX_PIXELS": "64M",
        "ALEXNET_LOG": "json",
        "ALEXNET_CACHE": "off",
        "ALEXNET_HOST": "0.0.0.0",
        "ALEXNET_PORT": "3000",
    }
    found = settings_in(name)
    read_settings({setting: samples[setting] for setting in found})


def test_the_unit_sets_what_the_service_reads():
    pairs = dict(value.split("=", 1) for name, value in unit() if name == "Environment")
    settings = read_settings(pairs)
    assert (settings.host, settings.port, settings.log) == ("127.0.0.1", 3000, "json")


def test_the_unit_is_one_that_systemd_understands(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze, which checks it, is not installed")
    text = (DEPLOY / "alexnet.service").read_text("utf-8")
    checked = tmp_path / "alexnet.service"
    checked.write_text(text.replace("/opt/alexnet/bin/alexnet-serve", shutil.which("true")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", checked], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_heading_that_the_unit_points_to_is_in_the_readme():
    text = (DEPLOY / "alexnet.service").read_text("utf-8")
    (heading,) = re.findall(r'README, "([^"]+)"', text)
    assert f"\n### {heading}\n" in (ROOT / "README.md").read_text("utf-8")


def test_an_image_listens_on_all_addresses_unless_told_otherwise():
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text("utf-8"))
    environment = {one["name"]: one["value"] for one in bentofile["envs"]}
    assert read_settings(environment).host == "0.0.0.0"


def test_the_unit_gives_no_rights():
    pairs = dict(unit())
    assert pairs["DynamicUser"] == pairs["NoNewPrivileges"] == pairs["PrivateTmp"] == "yes"
    assert pairs["ProtectSystem"] == "strict"
    assert pairs["CapabilityBoundingSet"] == ""
    assert pairs["MemoryMax"] == "4G"
    assert len(pairs["ExecStart"].split()) == 1  # an option would win over a variable set later


def test_what_the_unit_starts_is_a_command_of_the_project():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert Path(dict(unit())["ExecStart"].split()[0]).name in scripts


def test_the_container_writes_nowhere_and_is_nobody():
    service = compose()
    assert service["read_only"] is True
    assert service["user"].split(":")[0] not in ("0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"][0].startswith("/tmp:")
    assert service["environment"]["BENTOML_HOME"].startswith("/tmp/")
    assert service["ports"] == ["127.0.0.1:3000:3000"]
    read_settings(service["environment"])


def test_their_memory_is_enough_for_the_largest_photo_on_each_of_their_cores():
    most = (0.5 + 0.4 + 2 * 1.2) * 1e9  # the model, uploads, and a decoder for each core
    pairs = dict(unit())
    assert (pairs["AllowedCPUs"], pairs["MemoryMax"]) == ("0-1", "4G")
    # A process sees which cores it may have, and nothing of `cpus`, a share of their time.
    assert (compose()["cpuset"], compose()["mem_limit"]) == ("0,1", "4g")
    assert "cpus" not in compose()
    assert most < 4 * 2**30


def test_both_wait_for_as_long_as_the_end_may_take():
    longest = longest_end(read_settings({}))
    assert float(dict(unit())["TimeoutStopSec"]) > longest
    assert float(compose()["stop_grace_period"].removesuffix("s")) > longest


def test_the_health_check_tells_a_service_that_is_ready_from_one_that_is_not(service):
    _, python, *arguments = compose()["healthcheck"]["test"]
    assert python == "python"

    def healthy(url):
        here = [argument.replace("http://127.0.0.1:3000", url) for argument in arguments]
        return subprocess.run([sys.executable, *here], capture_output=True).returncode == 0

    assert healthy(service.url)
    assert not healthy(service.url + "/nothing")
    assert not healthy("http://127.0.0.1:1")


def test_the_image_has_the_oldest_python_that_the_project_runs_on():
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == f">={bentofile['docker']['python_version']}"


def test_a_home_that_can_not_be_written_is_replaced(monkeypatch, tmp_path):
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    choose_home()
    chosen = Path(os.environ.pop("BENTOML_HOME"))
    assert chosen.is_dir()
    assert chosen.parent == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    choose_home()
    assert "BENTOML_HOME" not in os.environ
    monkeypatch.setenv("BENTOML_HOME", "/named")
    choose_home()
    assert os.environ["BENTOML_HOME"] == "/named"
