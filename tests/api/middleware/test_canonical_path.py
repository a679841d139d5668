"""The paths that clients write for an endpoint, each of which leads to it."""

import httpx
import pytest

from api.live import serving, tone
from api.middleware.test_authentication import BEARER, ENTRIES
from asr_service.api.middleware.canonical_path import canonical_path
from asr_service.errors import ConfigurationError
from asr_service.settings import load_settings


@pytest.mark.parametrize(
    "path",
    [
        "/v1//audio/transcriptions",
        "//v1/audio/transcriptions",
        "/v1/audio/transcriptions/",
        "/v1/audio/transcriptions//",
        "/openai/v1/audio/transcriptions",
        "//openai//v1/audio/transcriptions/",
        "/v1/audio/translations/",
        "/openai/v1/audio/translations",
    ],
)
def test_a_recording_may_be_sent_to_each_of_these_paths(named, path):
    """They come from base URLs with a slash at their end, and from Groq's SDK. Metrics name the endpoint."""
    endpoint = "/v1/audio/" + path.strip("/").rsplit("/", 1)[-1]
    counter = f'asr_requests_total{{code="200",endpoint="{endpoint}"}}'
    before = named.metric(counter)
    answer = httpx.post(f"{named.url}{path}", files={"file": ("a.wav", tone())}, data={"model": "whisper-1"})
    assert (answer.status_code, answer.json()["text"]) == (200, "hello")
    assert named.metric(counter) == before + 1


@pytest.mark.parametrize(
    "path",
    [
        "/health/", "//health", "/health//ready/", "/languages/", "/docs/", "/v1/models/", "/openai/v1/models",
        "/v1/models/whisper-1/", "/v1//models//whisper-1", "/openapi.json/",
    ],
)  # fmt: skip
def test_a_path_may_have_more_slashes(named, path):
    """The response is that of the path without them."""
    assert named.get(path).status_code == 200


def test_another_form_of_a_path_needs_a_key_as_the_path_does():
    """A public path stays public. /metrics has one form only, because proxies restrict the access to it by its path."""
    with serving(api_keys=ENTRIES) as live:
        assert live.get("/health/").status_code == 200
        for path in ("/v1//models", "/v1/models/", "/openai/v1/models", "//languages", "/health//key/"):
            assert live.get(path).status_code == 401
            assert httpx.get(f"{live.url}{path}", headers=BEARER).status_code in {200, 204}
        for path in ("/metrics/", "//metrics", "/openai/metrics"):
            assert httpx.get(f"{live.url}{path}", headers=BEARER).status_code == 404


def test_a_root_path_is_removed():
    """The service works with and without it, and also where the prefix occurs twice."""
    with serving(root_path="/speech/asr") as live:
        for path in ("/health", "/speech/asr/health", "/speech/asr/v1/models/", "/speech/asr//docs"):
            assert live.get(path).status_code == 200
        for path in ("/speech/health", "/speech/asrhealth", "/speech/asr/metrics", "/speech/asr/speech/asr/health"):
            assert live.get(path).status_code == 404


@pytest.mark.parametrize("given", ["asr", "/asr/", "/", "//asr", "/a b", "/a?b", "/a/../b\n", "/<x>"])
def test_a_root_path_must_be_a_path(given):
    """Anything else is refused at start."""
    with pytest.raises(ConfigurationError, match="ASR_ROOT_PATH"):
        load_settings({}, root_path=given)


@pytest.mark.parametrize("path", ["/", "//", "///"])
def test_the_root_stays_the_root(path):
    """A path is never empty."""
    assert canonical_path(path) == "/"


@pytest.mark.parametrize("path", ["/openai", "/openai/v1", "/openai/transcribe", "/openai/metrics", "/v1x/models"])
def test_other_paths_are_not_changed(path):
    """Only /openai/v1/ is another name of /v1/."""
    assert canonical_path(path) == path
