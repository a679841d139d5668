"""The Dockerfile agrees with the other files of the repository. tests/container runs the image."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from asr_service.cli.main import command_names
from asr_service.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_python_version_is_that_of_the_lock():
    """The lock is for a Python version that the project allows, and the image has that version."""
    (image_version,) = re.findall(r"^ARG PYTHON_IMAGE=python:([\d.]+)-slim", DOCKERFILE, re.MULTILINE)
    (lock_version,) = re.findall(r"--python-version ([\d.]+)", (ROOT / "Makefile").read_text())
    assert image_version == lock_version
    assert image_version in SpecifierSet(PROJECT["requires-python"])


def test_the_build_context_has_every_copied_file():
    """Each copied file exists and is allowed by .dockerignore, which excludes all others."""
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in rules
    assert names == {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((ROOT / name).exists() for name in names)


def test_the_extras_and_settings_exist():
    """The service accepts all variables, and the project has all extras that are installed."""
    extras = {extra for found in re.findall(r"asr-service\[([\w,-]+)\]", DOCKERFILE) for extra in found.split(",")}
    assert extras <= set(PROJECT["optional-dependencies"])
    (block,) = re.findall(r"^ENV (PATH=.+)$", DOCKERFILE, re.MULTILINE)
    environ = dict(pair.split("=", 1) for pair in shlex.split(block))
    fields: dict[str, Any] = {
        name.removeprefix(PREFIX).lower(): value for name, value in environ.items() if name.startswith(PREFIX)
    }
    assert fields.keys() <= Settings.model_fields.keys()
    fields["model"] = "auto"
    Settings(**fields)


def test_no_volume_is_declared():
    """A declared volume would hide what a derived image adds to /models."""
    assert not re.search(r"^VOLUME", DOCKERFILE, re.MULTILINE)


def test_the_user_is_not_root_and_the_health_check_is_a_command():
    """The user is a number, so that Kubernetes can check that it is not root, and the one that deploy/ uses."""
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    for manifest in ("deploy/kubernetes/base/deployment.yaml", "deploy/compose/compose.yaml"):
        assert "10001" in (ROOT / manifest).read_text()
    (command,) = re.findall(r'^HEALTHCHECK .*CMD \["asr-service", "(\w+)"\]$', DOCKERFILE, re.MULTILINE)
    assert command in command_names()
