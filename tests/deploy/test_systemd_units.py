"""systemd's units, checked by systemd's own tools. tests/deployment compares deploy/systemd with the rendered files."""

import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from asr_service.deployment import RenderedFile, SystemdOptions, systemd_files, write_files
from asr_service.errors import ConfigurationError
from asr_service.serving import Timeouts
from asr_service.settings import Settings

HERE = SystemdOptions(program=Path("/bin/true"))
"""A program that exists; the path of a checkout could contain spaces."""
SITES: dict[str, dict[str, Any]] = {
    "sockets, GPUs": {"devices": "cuda:0,cuda:1"},
    "sockets, CPU": {"devices": "cpu,cpu"},
    "port, one GPU": {"devices": "cuda:0"},
    "port, CPU, open": {"devices": "cpu", "host": "0.0.0.0"},
    "sockets, webhooks": {"devices": "cuda:0,cuda:1", "webhook_secret": "whsec_c2VjcmV0"},
    "port, webhooks": {"devices": "cpu", "webhook_secret": "whsec_c2VjcmV0"},
    "sockets, workers": {
        "devices": "cuda:0,cuda:1",
        "webhook_secret": "whsec_c2VjcmV0",
        "jobs_runner": "workers",
        "jobs_url": "unix:///run/redis/redis.sock",
        "jobs_files": "/srv/jobs",
    },
    "sockets, cloud": {"devices": "cpu,cpu", "jobs_url": "redis://redis.example.com", "jobs_files": "s3://bucket/jobs"},
    "elsewhere": {"devices": "cpu,cuda:0", "model_dir": Path("/srv/models"), "metrics_dir": Path("/run/metrics")},
}

needs_systemd_analyze = pytest.mark.needs_program("systemd-analyze")


def render(options: SystemdOptions = HERE, **settings: Any) -> tuple[RenderedFile, ...]:
    return systemd_files(Settings(**settings), options)


def unit(name: str = "asr-service.service", **settings: Any) -> RawConfigParser:
    """Return the directives; the last one of duplicates."""
    text = next(file.text for file in render(**settings) if file.name == name)
    parser = RawConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds the case
    parser.read_string(text)
    return parser


@pytest.fixture(params=SITES, name="folder")
def rendered(request, tmp_path):
    write_files(render(**SITES[request.param]), tmp_path)
    return tmp_path


def analyze(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    units = sorted(str(path) for path in folder.glob("*.service"))
    command = ["systemd-analyze", "--no-pager", *arguments, *units]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@needs_systemd_analyze
def test_systemd_accepts_every_line(folder):
    """`systemd-analyze verify` prints nothing: no unknown directive, invalid value, missing unit or program."""
    result = analyze("verify", "--man=no", "--recursive-errors=one", folder=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_systemd_analyze
def test_the_exposure_is_below_two(folder):
    """`systemd-analyze security` rates the service, the download and the job worker below 2 with all settings."""
    result = analyze("security", "--offline=yes", "--threshold=19", folder=folder)
    assert result.returncode == 0, result.stdout
    levels = [float(level) for level in re.findall(r"exposure level for \S+: ([\d.]+)", result.stdout)]
    assert len(levels) == 5
    assert max(levels) < 2


@needs_systemd_analyze
def test_a_unit_of_nginx_accepts_the_changes(tmp_path):
    """`systemd-analyze verify` prints nothing about a unit with these lines. It names the file of an invalid one."""
    write_files(render(), tmp_path)
    (tmp_path / "nginx.service").write_text("[Service]\nType=forking\nExecStart=/bin/true\nExecStop=/bin/false\n")
    command = ["systemd-analyze", "--no-pager", "verify", "--man=no", str(tmp_path / "nginx.service")]
    lines = tmp_path / "nginx.service.d/asr-service.conf"
    for text, named in ((lines.read_text(), False), ("[Service]\nNonsense=1\n", True)):
        lines.write_text(text)
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (str(lines) in result.stderr) == named, result.stderr


@pytest.mark.parametrize("request_s", [60, 300, 3600])
def test_nginx_finishes_its_requests_before_it_stops(request_s):
    """It gets QUIT and not TERM, and more time than a request has."""
    nginx = unit("nginx.service.d/asr-service.conf", request_timeout_s=request_s)["Service"]
    assert (nginx["KillSignal"], nginx["KillMode"], nginx["ExecStop"]) == ("SIGQUIT", "mixed", "")
    assert float(nginx["TimeoutStopSec"]) == Timeouts.for_request(request_s).stop_s > request_s


@pytest.mark.parametrize("request_s", [60, 300, 3600])
def test_systemd_waits_longer_than_gunicorn(request_s):
    """The stop time-out is longer than Gunicorn's; the start time-out follows from the model's load."""
    service = unit(request_timeout_s=request_s, model_load_timeout_s=100)["Service"]
    timeouts = Timeouts.for_request(request_s)
    assert float(service["TimeoutStopSec"]) == timeouts.stop_s > timeouts.graceful_s
    assert float(service["TimeoutStartSec"]) > 100


def test_only_the_download_has_network_access():
    """With unix sockets the service has no network, with a port only its addresses; the download has it all."""
    service = unit(**SITES["sockets, GPUs"])["Service"]
    assert (service["PrivateNetwork"], service["RestrictAddressFamilies"]) == ("yes", "AF_UNIX")
    assert "ASR_OFFLINE=true" in service["Environment"]
    service = unit(**SITES["port, one GPU"])["Service"]
    assert "PrivateNetwork" not in service
    assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")
    assert "IPAddressDeny" not in unit(**SITES["port, CPU, open"])["Service"]
    fetch = unit("asr-service-model.service", **SITES["sockets, GPUs"])["Service"]
    assert "PrivateNetwork" not in fetch
    assert "ASR_OFFLINE" not in fetch["Environment"]


@pytest.mark.parametrize("site", ["sockets, webhooks", "port, webhooks"])
def test_a_service_that_sends_webhooks_has_the_network(site):
    """Receivers can have any public address. The service itself refuses the others."""
    service = unit(**SITES[site])["Service"]
    assert "PrivateNetwork" not in service
    assert "IPAddressDeny" not in service
    assert service["RestrictAddressFamilies"] == "AF_UNIX AF_INET AF_INET6"
    assert not re.search("whsec|c2VjcmV0", "".join(file.text for file in render(**SITES[site])))


def test_a_cache_of_results_can_be_reached():
    """By TCP with the network, by a Unix socket without it. A directory can be written; no password is in the unit."""
    redis: Any = {"devices": "cpu,cpu", "cache_url": "redis://me:s3cret@cache:6379/0"}
    service = unit(**redis)["Service"]
    assert not {"PrivateNetwork", "IPAddressDeny"} & set(service)
    assert service["RestrictAddressFamilies"] == "AF_UNIX AF_INET AF_INET6"
    assert "s3cret" not in "".join(file.text for file in render(**redis))
    for url in ("unix:///run/redis/redis.sock", "memory", "/srv/results"):
        service = unit(devices="cpu,cpu", cache_url=url)["Service"]
        assert service["PrivateNetwork"] == "yes"
        assert service.get("ReadWritePaths") == ("-/srv/results" if url == "/srv/results" else None)


def test_the_job_worker_has_the_network_instead_of_the_service():
    """With a Redis on a socket the service needs none. A Redis or a bucket elsewhere needs it."""
    service = unit(**SITES["sockets, workers"])["Service"]
    assert (service["PrivateNetwork"], service["ReadWritePaths"]) == ("yes", "-/srv/jobs")
    worker = unit("asr-service-worker.service", **SITES["sockets, workers"])["Service"]
    assert "PrivateNetwork" not in worker
    assert (worker["ReadWritePaths"], worker["IPAddressDeny"]) == ("-/srv/jobs", "link-local multicast")
    assert (worker["PrivateDevices"], worker["MemoryDenyWriteExecute"]) == ("yes", "yes")
    assert "PrivateNetwork" not in unit(**SITES["sockets, cloud"])["Service"]
    in_cloud = unit("asr-service-worker.service", **SITES["sockets, cloud"])["Service"]
    assert not {"ReadWritePaths", "IPAddressDeny"} & set(in_cloud), "credentials may come from the metadata service"


def test_a_missing_directory_does_not_keep_a_unit_from_starting():
    """Without `-` systemd ends such a unit with 226/NAMESPACE, also if the service would make the directory itself."""
    rendered = render(
        model_dir=Path("/srv/models"),
        state_dir=Path("/srv/state"),
        metrics_dir=Path("/run/asr-service/metrics"),
        key_usage_dir=Path("/run/keys"),
        cache_url="/var/lib/asr-service/results",
        jobs_files="/srv/jobs",
    )
    writable = re.findall("^ReadWritePaths=(.*)$", "\n".join(file.text for file in rendered), re.MULTILINE)
    assert {path.removeprefix("-") for path in writable} > {"/var/lib/asr-service/results", "/srv/jobs", "/srv/models"}
    assert all(path.startswith("-") for path in writable)


def test_gpus_are_allowed_and_a_cpu_can_generate_code():
    """NVIDIA's devices are allowed only with a GPU, and writable executable memory only where oneDNN needs it."""
    on_gpu, on_cpu = (unit(devices=devices)["Service"] for devices in ("cuda:0", "cpu"))
    assert on_gpu["DeviceAllow"] == "char-nvidia* rw"
    assert "PrivateDevices" not in on_gpu
    assert on_gpu["MemoryDenyWriteExecute"] == "yes"
    assert "DeviceAllow" not in on_cpu
    assert on_cpu["PrivateDevices"] == "yes"
    assert "MemoryDenyWriteExecute" not in on_cpu


def test_each_of_several_services_has_its_own_files():
    """Settings, model and sockets follow from the instance's name."""
    service = unit("asr-service@.service")
    assert service["Unit"]["Wants"] == "asr-service-model@%i.service"
    assert service["Service"]["EnvironmentFile"] == "/etc/asr-service/%i.env"
    assert service["Service"]["RuntimeDirectory"] == "asr-service-%i"


@pytest.mark.parametrize(
    ("param", "options", "settings"),
    [
        ("--program", SystemdOptions(program=Path("bin/asr-service")), {}),
        ("--program", SystemdOptions(program=Path("/bin/true\nExecStart=/bin/false")), {}),
        ("--proxy-user", SystemdOptions(proxy_user="www data"), {}),
        ("ASR_SOCKET_DIR", SystemdOptions(), {"socket_dir": Path("/srv/sockets")}),
        ("ASR_MODEL_DIR", SystemdOptions(), {"model_dir": Path("/srv/my models")}),
        ("ASR_JOBS_FILES", SystemdOptions(), {"jobs_files": "/srv/my jobs"}),
    ],
)
def test_values_that_would_break_a_unit_are_refused(param, options, settings):
    """An option or setting that would add lines, or use a directory unknown to systemd, is refused."""
    with pytest.raises(ConfigurationError) as refused:
        render(options, **settings)
    assert refused.value.param == param
