"""deploy/compose: Compose accepts the file, and the file agrees with the code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from asr_service.serving.limits import Timeouts
from asr_service.settings import load_settings
from programs import report_missing

COMPOSE = Path(__file__).parent.parent.parent / "deploy" / "compose"
SLOT = "172.31.250.10"
SERVERS = ("asr-cpu", "asr-gpu")
NOT_SETTINGS = {"HOME"}
SETTINGS = {"ASR_DEVICES": "cpu", "ASR_API_KEYS_FILE": "/etc/asr-service/keys"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (COMPOSE / "compose.yaml").read_text())  # with an empty .env
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_accepts_the_file(profile, tmp_path):
    """Compose reads the file without a Docker engine: Docker's plugin, or Debian's docker-compose."""
    command = next((found for found in (["docker", "compose"], ["docker-compose"]) if takes_config(found)), None)
    if command is None:
        report_missing("Neither `docker compose` nor docker-compose is installed: apt-get install docker-compose")
    content = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    content.pop("name")  # docker-compose 1 does not know it
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(content))
    where = ["--file", str(tmp_path / "compose.yaml"), "--project-directory", str(COMPOSE)]
    where += ["--profile", profile, "--profile", "redis", "--profile", "cache", "--profile", "workers"]
    env = {"PATH": "/usr/bin:/bin:/usr/local/bin", "GRAFANA_PASSWORD": "secret"}
    result = subprocess.run(
        [*command, *where, "config"], check=False, env=env, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert {"nginx", "prometheus", "grafana", "redis-jobs", "redis-cache", "worker", f"asr-{profile}"} <= set(
        yaml.safe_load(result.stdout)["services"]
    )


def takes_config(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "version"], check=False, capture_output=True, timeout=60).returncode == 0


def test_the_variables_are_settings_of_the_service(services):
    """The service accepts each variable, and serves the model that is downloaded."""
    for name in SERVERS:
        given = services[name]["environment"]
        assert {each for each in given if not each.startswith("ASR_")} == NOT_SETTINGS
        settings = load_settings(given, **{k[4:].lower(): v for k, v in given.items() if k not in NOT_SETTINGS})
        (fetch,) = services[name]["depends_on"]
        assert services[fetch]["command"] == ["models", "fetch", settings.model]
        assert services[fetch]["environment"].items() <= given.items()
        timeouts = Timeouts.for_request(settings.request_timeout_s)
        assert services[name]["stop_grace_period"] == f"{timeouts.stop_s:.0f}s"
        assert services["nginx"]["stop_grace_period"] == f"{timeouts.stop_s:.0f}s", "Nginx finishes requests too"


def test_jobs_are_in_a_volume_that_outlives_the_container(services):
    """Docker gives a new volume the owner of the directory in the image, so the Dockerfile creates it."""
    volumes = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["volumes"]
    dockerfile = (COMPOSE.parent.parent / "Dockerfile").read_text()
    for name in SERVERS:
        mounts = {each.split(":")[1]: each.split(":")[0] for each in services[name]["volumes"]}
        state_dir = services[name]["environment"]["ASR_STATE_DIR"]
        assert mounts[state_dir] in volumes
        assert re.search(rf"install -d -o 10001 -g 10001 -m 0700 {state_dir}$", dockerfile, re.MULTILINE)


def test_the_redis_of_jobs_keeps_them(services):
    """It refuses to write when its memory is full, and a change is on the disk before its answer."""
    command = services["redis-jobs"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--appendonly": "yes", "--appendfsync": "always", "--save": "", "--maxmemory-policy": "noeviction"
    }  # fmt: skip
    assert services["redis-jobs"]["volumes"] == ["redis-jobs:/data"]


def test_the_redis_of_the_cache_drops_what_is_used_least(services):
    """Within a limit of its memory, and it writes nothing to a disk."""
    command = services["redis-cache"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--maxmemory-policy"], options["--save"], options["--appendonly"]) == ("allkeys-lfu", "", "no")
    assert "--maxmemory" in options


def test_the_job_worker_has_the_jobs_of_the_service(services):
    """Their records, their files, and the address of the slot. Webhooks need the network outside."""
    worker = services["worker"]
    given = {name: value for name, value in worker["environment"].items() if name not in NOT_SETTINGS}
    settings = load_settings({name: value or "" for name, value in given.items()})
    assert settings.service_url == f"http://{SLOT}:8000"
    for name in SERVERS:
        service = services[name]["environment"]
        assert service["ASR_STATE_DIR"] == given["ASR_STATE_DIR"]
        assert {"ASR_JOBS_URL", "ASR_WEBHOOK_SECRET"} <= service.keys() & given.keys()
        assert worker["volumes"] == [each for each in services[name]["volumes"] if each.startswith("jobs:")]
    assert set(worker["networks"]) == {"outside", "inside"}
    assert worker["command"] == ["worker"]


def test_every_container_is_restricted(services):
    """Root file systems are read-only, only Nginx has capabilities, and no privilege is gained."""
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert ("cap_add" in service) is (name == "nginx")


def test_the_service_cannot_reach_the_outside(services):
    """The slot is only in the inner network, which has no way out, at the address that Nginx and Prometheus use."""
    networks = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["networks"]
    assert networks["inside"]["internal"] is True
    for name in SERVERS:
        assert services[name]["networks"] == {"inside": {"ipv4_address": SLOT}}
    (targets,) = yaml.safe_load((COMPOSE / "prometheus/asr-service.yml").read_text())
    assert targets["targets"] == [f"{SLOT}:8000"]


def test_the_nginx_file_is_what_render_writes(tmp_path):
    """The options are those of docs/containers.md. If the test fails, render the file again."""
    options = ["--server-name", "localhost", "--upstream", f"{SLOT}:8000", "--nginx-version", "1.28", "--no-ipv6"]
    options += [
        "--certificate",
        "/etc/nginx/tls/fullchain.pem",
        "--access-log",
        "/dev/stdout",
        "--error-log",
        "/dev/stderr",
    ]
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", "render", "nginx", *options]
    subprocess.run([*command, "--output", str(tmp_path)], check=True, env=SETTINGS, timeout=60)
    made = (tmp_path / "asr-service.conf").read_text()
    assert (COMPOSE / "nginx/asr-service.conf").read_text() == made


def test_mounted_files_exist(services):
    """Mounted files of this project exist; keys and certificates come from the operator."""
    own = {"./keys", "./tls"}
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or source in own or (COMPOSE / source).exists(), source
