"""Short-lived keys for browsers: what they are good for, and when they end."""

import time
from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI
from websockets.exceptions import InvalidStatus

from api.live import Live, serving
from api.openai.realtime.client import realtime
from api.openai.realtime.scripted import Sessions, scripted_sessions
from api.test_failures import assert_error
from asr_service.access.client_secrets import ClientSecret, issue_secret, read_secret
from asr_service.access.keys import KeyLimits, KeyRing, entry, new_secret, read_keys
from asr_service.errors import WrongKey
from asr_service.settings import load_settings

ALICE, ONE = new_secret(), new_secret()
ENTRIES = ",".join([entry("alice", ALICE), entry("one", ONE, KeyLimits(concurrent_requests=1))])
SESSION = {
    "type": "transcription",
    "audio": {"input": {"transcription": {"language": "de", "prompt": "Rosebud"}, "turn_detection": None}},
}


@pytest.fixture(scope="module")
def _keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(api_keys=ENTRIES, key_usage_dir=tmp_path_factory.mktemp("usage")) as live:
        yield live


@pytest.fixture
def keyed(_keyed: Live) -> Live:
    return _keyed


@pytest.fixture
def keyed_sessions(_keyed: Live) -> Iterator[Sessions]:
    with scripted_sessions(_keyed) as sessions:
        yield sessions


def make(live: Live, key: str = ALICE, **body: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{live.url}/v1/realtime/client_secrets", json=body, headers=headers)


def status(live: Live, secret: str) -> int:
    with pytest.raises(InvalidStatus) as refused, realtime(live.url, key=secret):
        pass
    return refused.value.response.status_code


def test_the_sdk_makes_a_secret_that_opens_sessions(keyed, keyed_sessions):
    """Its sessions begin with the configuration that it was made with. A browser sends it as a sub-protocol."""
    client = OpenAI(base_url=f"{keyed.url}/v1", api_key=ALICE)
    made = client.realtime.client_secrets.create(
        session=SESSION,  # type: ignore[arg-type]
        expires_after={"anchor": "created_at", "seconds": 60},
    )
    assert made.value.startswith("ek_")
    assert 55 < made.expires_at - time.time() <= 60
    assert made.session.type == "transcription"
    offered = ("realtime", f"openai-insecure-api-key.{made.value}")
    for how in ({"key": made.value}, {"protocols": offered}):
        with realtime(keyed.url, **how) as session:
            shown = session.received[0]["session"]["audio"]["input"]
            assert (shown["transcription"]["language"], shown["turn_detection"]) == ("de", None)
            assert keyed_sessions.last.options[0].decoding.initial_prompt == "Rosebud"


@pytest.mark.parametrize("model", ["whisper-1", "gpt-realtime-whisper"])
@pytest.mark.parametrize("detection", [None, {"type": "server_vad"}, {"type": "semantic_vad"}])
def test_a_session_has_the_turn_detection_of_its_secret(keyed, keyed_sessions, model, detection):
    """Also if it is the default, which some models do not have unless a client asks for it."""
    session = {"audio": {"input": {"transcription": {"model": model}, "turn_detection": detection}}}
    made = make(keyed, session=session).json()
    asked = made["session"]["audio"]["input"]
    for query in ("", f"?model={model}"):
        with realtime(keyed.url, query, key=made["value"]) as client:
            assert client.received[0]["session"]["audio"]["input"] == asked
    assert (asked["turn_detection"] or {}).get("type") == (detection or {}).get("type")


def test_a_secret_is_valid_for_sessions_only(keyed, keyed_sessions):
    """It cannot transcribe a file, and cannot make other secrets."""
    secret = make(keyed).json()["value"]
    headers = {"authorization": f"Bearer {secret}"}
    for path in ("/transcribe", "/v1/realtime/client_secrets"):
        assert_error(httpx.post(f"{keyed.url}{path}", headers=headers), 401, "invalid_api_key", None)


def test_a_secret_has_the_limits_of_the_key_that_made_it(keyed, keyed_sessions):
    secret = make(keyed, ONE).json()["value"]
    with realtime(keyed.url, key=ONE):
        assert status(keyed, secret) == 429
    keyed_sessions.wait_until_closed()
    with realtime(keyed.url, key=secret):
        assert status(keyed, ONE) == 429


def test_a_secret_is_valid_on_other_machines_until_its_key_is_revoked(keyed, tmp_path):
    """They share nothing but the entries of the keys."""
    secret = make(keyed).json()["value"]
    with (
        serving(api_keys=ENTRIES, key_usage_dir=tmp_path) as other,
        scripted_sessions(other),
        realtime(other.url, key=secret),
    ):
        pass
    for entries in (entry("one", ONE), entry("alice", new_secret())):
        with serving(api_keys=entries) as revoked, scripted_sessions(revoked):
            assert status(revoked, secret) == 401


def ring(entries: str = ENTRIES) -> KeyRing:
    return read_keys(load_settings({}, api_keys=entries))


def test_a_secret_expires_and_cannot_be_changed():
    key = next(iter(ring()))
    secret = issue_secret(ClientSecret(key, 1000, "{}"))
    assert read_secret(secret, ring(), 999) == ClientSecret(key, 1000, "{}")
    with pytest.raises(WrongKey, match="expired"):
        read_secret(secret, ring(), 1000)
    for at in range(3, len(secret)):
        changed = secret[:at] + ("A" if secret[at] != "A" else "B") + secret[at + 1 :]
        with pytest.raises(WrongKey, match="Invalid"):
            read_secret(changed, ring(), 999)
    for nonsense in ("ek_", "ek_é", "ek_AAAA", secret[:-4], "ek_" + "A" * 9000):
        with pytest.raises(WrongKey, match="Invalid"):
            read_secret(nonsense, ring(), 999)


@pytest.mark.parametrize(
    ("expires_at", "session"),
    [("9", "{}"), (None, "{}"), (2**40, "{"), (2**40, "[1]"), (2**40, "[" * 3000), (2**40, 5)],
)
def test_a_signed_secret_may_be_malformed(expires_at: object, session: object) -> None:
    """Without keys, anyone can sign one."""
    secret = issue_secret(ClientSecret(None, expires_at, session))  # type: ignore[arg-type]
    with pytest.raises(WrongKey):
        read_secret(secret, KeyRing(), 0)


def test_a_service_without_keys_makes_secrets_too(live, sessions):
    """They carry the configuration. A secret of a service without keys opens nothing in one that has keys."""
    body = {"session": SESSION}
    answer = httpx.post(f"{live.url}/v1/realtime/client_secrets", json=body)
    secret = answer.json()["value"]
    with realtime(live.url, key=secret) as session:
        assert session.received[0]["session"]["audio"]["input"]["transcription"]["language"] == "de"
    with pytest.raises(WrongKey):
        read_secret(secret, ring(), 0)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"expires_after": {"seconds": 5}}, "invalid_parameter", "expires_after"),
        ({"expires_after": {"seconds": "600"}}, "invalid_parameter", "expires_after"),
        ({"expires_after": {"seconds": 7201}}, "invalid_parameter", "expires_after"),
        ({"session": {"type": "realtime"}}, "invalid_parameter", "session.type"),
        ({"session": {"audio": {"input": {"transcription": {"prompt": "x" * 9000}}}}}, "invalid_parameter", "session"),
        ({"sesion": {}}, "invalid_parameter", "sesion"),
    ],
)
def test_an_invalid_request_is_refused(live, body, code, param):
    """The configuration is checked when the secret is made, and must fit a header."""
    answer = httpx.post(f"{live.url}/v1/realtime/client_secrets", json=body)
    assert_error(answer, 400, code, param)


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 400), (b" " * 70_000, 413), (b"", 200)])
def test_the_body_is_a_small_json_object_or_empty(live, body, status):
    assert httpx.post(f"{live.url}/v1/realtime/client_secrets", content=body).status_code == status
