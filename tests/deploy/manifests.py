"""The Kubernetes objects that kustomize makes from deploy/kubernetes."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())

Object = dict[str, Any]


_OLDEST = (5,)
"""The Kustomize version of kubectl 1.27."""


@cache
def _kustomize_version() -> tuple[int, ...]:
    """Return the version of kubectl's Kustomize; (0,) if it is missing or unknown."""
    if shutil.which("kubectl") is None:
        return (0,)
    result = subprocess.run(
        ["kubectl", "version", "--client", "--output=json"], check=False, capture_output=True, text=True, timeout=60
    )
    version = json.loads(result.stdout or "{}").get("kustomizeVersion", "v0")
    return tuple(int(part) for part in version.removeprefix("v").split(".")[:2])


@cache
def rendered(folder: Path) -> tuple[Object, ...]:
    """Return all objects of a kustomization."""
    if _kustomize_version() < _OLDEST:
        pytest.skip("needs kubectl 1.27 or newer, https://kubernetes.io/docs/tasks/tools (Debian 12's is of 2020)")
    made = subprocess.run(
        ["kubectl", "kustomize", str(folder)], check=False, capture_output=True, text=True, timeout=60
    )
    assert made.returncode == 0, made.stderr
    return tuple(yaml.safe_load_all(made.stdout))


def overlay(name: str) -> tuple[Object, ...]:
    return rendered(KUBERNETES / "overlays" / name)


def of_kind(objects: tuple[Object, ...], kind: str, name: str = "asr-service") -> Object:
    """Return the object of a kind and name. The hash of a generated name is ignored."""
    (found,) = [
        each
        for each in objects
        if each["kind"] == kind
        and each["metadata"]["name"].startswith(name)
        and len(each["metadata"]["name"].removeprefix(name)) in {0, len("-0123456789")}
    ]
    return found


def pod_of(objects: tuple[Object, ...], kind: str = "Deployment", name: str = "asr-service") -> Object:
    spec: Object = of_kind(objects, kind, name)["spec"]["template"]["spec"]
    return spec


def settings_of(objects: tuple[Object, ...], container: Object) -> dict[str, str]:
    """Return the environment variables of a container, without those of Secrets, which the operator makes."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "secretRef" in source:
            continue
        name = source["configMapRef"]["name"]
        (config,) = [each for each in objects if each["kind"] == "ConfigMap" and each["metadata"]["name"] == name]
        found |= config["data"]
    return found | {each["name"]: each["value"] for each in container.get("env", [])}
