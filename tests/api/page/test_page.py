"""The page at / and its files, as clients that are no browsers see them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

import asr_service
from api.live import Live, serving
from api.middleware.test_authentication import BEARER, ENTRIES
from asr_service.api.page.assets import page_assets
from asr_service.errors import AsrError, ConfigurationError
from asr_service.settings import load_settings

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
TEXTS = {path: json.loads(asset.body) for path, asset in page_assets().files.items() if path.startswith("i18n/")}


@pytest.fixture(scope="module")
def behind_proxy() -> Iterator[Live]:
    """A service under a path, with keys, a name and a note that looks like HTML."""
    with serving(
        root_path="/speech/asr", api_keys=ENTRIES, page_name="Ward & Sons", page_note='Call "<b>9</b>"'
    ) as live:
        yield live


def links(html: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]+)"', html)


def test_a_browser_gets_the_page_and_every_file_of_it(live):
    """Each link of the page is relative to it, and leads to a file that browsers keep for a year."""
    answer = httpx.get(live.url, headers=BROWSER, follow_redirects=False)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    own = [link for link in links(answer.text) if link.startswith("page/")]
    assert len(own) > 20
    assert set(links(answer.text)) - set(own) == {"docs"}
    with httpx.Client(base_url=answer.url) as client:
        for link in own:
            file = client.get(link)
            assert file.status_code == 200, link
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert file.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_other_clients_get_the_answer_for_a_path_that_does_not_exist(live, accept):
    """As curl does."""
    answer = httpx.get(live.url, headers={"accept": accept})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_the_page_allows_nothing_but_its_own_files(live):
    """No inline script or style, no other host, no frame around it."""
    answer = httpx.get(live.url, headers=BROWSER)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["font-src"] == "'self'"
    assert {source for value in policy.values() for source in value.split()} == {"'none'", "'self'", "blob:"}
    assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", answer.text)


def test_a_browser_asks_whether_the_page_has_changed(live):
    """The page itself is never used without asking; its answer is short if nothing has changed."""
    first = httpx.get(live.url, headers=BROWSER)
    assert (first.headers["cache-control"], first.headers["vary"]) == ("no-cache", "Accept")
    again = httpx.get(live.url, headers=BROWSER | {"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_file_of_another_version_is_not_kept(live):
    """A page that was opened before an update still gets its files, and no cache mixes the versions."""
    old = live.get("/page/0000000000000000/app.js")
    assert (old.status_code, old.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path", ["/page", "/page/0/none.js", "/page/0/../routes.py", "/page/0/%2e%2e/routes.py", "/page/0/index.html"]
)
def test_nothing_else_is_served(live, path):
    """Neither files outside the folder nor the template."""
    assert live.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/speech/asr/", "/speech/asr", "/"])
def test_the_page_works_under_the_path_of_a_proxy(behind_proxy, path):
    """Also if the slash at the end is missing, and without a key, while the API asks for one."""
    answer = httpx.get(behind_proxy.url + path, headers=BROWSER)
    assert answer.status_code == 200
    assert 'data-keys="true"' in answer.text
    script = next(link for link in links(answer.text) if link.endswith("/app.js"))
    assert script.startswith("/speech/asr/page/")
    assert httpx.get(urljoin(str(answer.url), script)).status_code == 200
    assert httpx.get(f"{behind_proxy.url}/speech/asr/languages").status_code == 401
    assert httpx.get(f"{behind_proxy.url}/speech/asr/languages", headers=BEARER).status_code == 200


def test_a_proxy_that_removes_its_path_can_name_it(live):
    """Links are then absolute, because the proxy may have removed the slash as well."""
    answer = httpx.get(live.url, headers=BROWSER | {"x-forwarded-prefix": "/asr"})
    assert all(link.startswith("/asr/page/") for link in links(answer.text) if link != "docs")


def test_the_operators_name_and_note_are_plain_text(behind_proxy):
    """HTML in them is shown, not interpreted."""
    text = httpx.get(behind_proxy.url, headers=BROWSER).text
    assert "<title>Ward &amp; Sons</title>" in text
    assert 'data-note="Call &quot;&lt;b&gt;9&lt;/b&gt;&quot;"' in text


def test_the_page_can_be_turned_off():
    """Then neither it nor its files exist."""
    with serving(page="off") as live:
        assert httpx.get(live.url, headers=BROWSER).status_code == 404
        assert live.get(f"/page/{page_assets().version}/app.js").status_code == 404


def test_a_note_has_a_maximum_length():
    """It is a note, not a document."""
    with pytest.raises(ConfigurationError, match="ASR_PAGE_NOTE"):
        load_settings({}, page_note="x" * 501)


def test_every_language_has_the_same_texts():
    """With the same values in them. A language is one file."""
    assert set(TEXTS) >= {"i18n/en.json", "i18n/zh-CN.json"}
    english = TEXTS["i18n/en.json"]
    for path, texts in TEXTS.items():
        assert set(texts) == set(english), path
        assert {key: values_of(text) for key, text in texts.items()} == {
            key: values_of(text) for key, text in english.items()
        }, path
        assert all(text.strip() for text in texts.values()), path


def test_every_warning_about_a_recording_has_a_text_and_is_documented():
    """A warning that is new needs a text in each language, and a line in docs/api.md."""
    source = Path(asr_service.__file__).parent
    code = "".join(path.read_text() for path in source.rglob("*.py"))
    codes = set(re.findall(r'RecordingWarning\("(\w+)"', code))
    assert len(codes) > 5
    assert {key.split(".")[1] for key in TEXTS["i18n/en.json"] if key.startswith("warning.")} | {"no_speech"} == codes
    documented = re.findall(
        r"^\| `(\w+)` \| `\{.*\}` \|", (source.parents[1] / "docs/api.md").read_text(), re.MULTILINE
    )
    assert set(documented) == codes


def test_every_error_about_a_recording_has_a_text():
    """In the language of the page. Those that pass, and those of the API key, are shown as a state of the queue."""
    passing = {"upload_too_slow", "unavailable", "overloaded", "caller_limit_reached", "not_ready", "engine_stopped"}
    of_keys = {"missing_api_key", "invalid_api_key", "key_limit_reached", "concurrency_limit_reached"}
    of_keys |= {"audio_limit_reached", "job_limit_reached", "worker_key_required"}
    not_of_page = {"model_not_found", "not_found", "upgrade_required", "session_expired", "idempotency_conflict"}
    not_of_page |= {"input_audio_buffer_commit_empty", "no_transcript", "client_gone"}
    shown_as_missing = {"job_expired"}
    not_sent = {"bad_request", "startup_failed", "configuration", "model_unavailable"}
    codes = all_codes(AsrError) - passing - of_keys - not_of_page - shown_as_missing - not_sent
    codes |= {"runner_lost", "record_damaged", "recording_missing"}  # of jobs alone
    assert {code for code in codes if f"problem.{code}" not in TEXTS["i18n/en.json"]} == set()


def all_codes(error: type[AsrError]) -> set[str]:
    own = {error.code} if error.__module__ == AsrError.__module__ else set()
    return own.union(*map(all_codes, error.__subclasses__()))


def values_of(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_every_text_is_used_and_every_text_that_is_used_exists():
    """A key is written out in the code, or it begins with a prefix that the code writes before `${`."""
    code = "\n".join(asset.body.decode() for path, asset in page_assets().files.items() if path.endswith(".js"))
    prefixes = set(re.findall(r"`([a-z_]+\.[a-z_.]*)\$\{", code))
    written = set(re.findall(r'"([a-z_]+(?:\.[a-z_0-9]+)+)"', code))
    english = {re.sub(r"\.(one|other)$", "", key) for key in TEXTS["i18n/en.json"]}
    assert {key for key in english if key not in written and not key.startswith(tuple(prefixes))} == set()
    used = set(re.findall(r"\bt\(\"([^\"]+)\"", code))
    assert used <= english
