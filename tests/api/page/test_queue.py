"""The queue of the page where something is wrong with a recording or its job, in Chromium."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from api.jobs.client import endless
from api.live import serving
from api.page.conftest import INSECURE, Held
from api.page.pages import add_files, clip, expect_state, opened_page, row
from api.page.test_page import TEXTS
from fakes import FakeModel
from waiting import until

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]

_CANCEL_DURING_READ = """
const { get } = IDBObjectStore.prototype;
IDBObjectStore.prototype.get = function (key) {
  if (this.name === "blobs") {
    IDBObjectStore.prototype.get = get;
    document.querySelector("[aria-label='Cancel tone.wav']").click();
  }
  return get.call(this, key);
};
"""


def test_a_job_that_the_service_has_deleted_can_be_tried_again(browser: Browser, held: Held) -> None:
    """The page says what has happened. It has the recording still."""
    held.hold()
    with opened_page(browser, held.live.url, may_fail=True) as page:
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "running")
        (job, *_) = held.live.get("/jobs").json()["data"]
        httpx.delete(f"{held.live.url}/jobs/{job['id']}")
        held.release()
        httpx.delete(f"{held.live.url}/jobs/{job['id']}")
        expect_state(page, "tone.wav", "failed")
        expect(row(page, "tone.wav")).to_contain_text("The service no longer has this recording.")
        page.get_by_role("button", name="Try tone.wav again").click()
        expect_state(page, "tone.wav", "done")


def test_a_press_on_cancel_counts_although_the_upload_ends_before_the_release(browser: Browser, held: Held) -> None:
    """The button is not replaced between the two."""
    held.hold()
    uploads: list[Route] = []

    def keep(route: Route) -> None:
        uploads.append(route)

    with opened_page(browser, held.live.url) as page:
        page.route("**/jobs", keep)
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "uploading")
        page.get_by_role("button", name="Cancel tone.wav").hover()
        page.mouse.down()
        uploads[0].continue_()
        expect_state(page, "tone.wav", "running")
        page.mouse.up()
        expect(row(page, "tone.wav")).to_contain_text("Cancelled")


def test_a_recording_can_be_cancelled_while_the_browser_reads_it(browser: Browser, held: Held) -> None:
    """It is not sent then, and can be tried again."""
    with opened_page(browser, held.live.url, may_fail=True) as page:
        page.route("**/jobs", lambda route: route.abort())
        add_files(page, clip("tone.wav"))
        expect(row(page, "tone.wav")).to_contain_text("Waiting for the connection")
        page.unroute("**/jobs")
        page.add_init_script(_CANCEL_DURING_READ)
        page.reload()
        page.get_by_role("button", name="Try tone.wav again").click()
        expect_state(page, "tone.wav", "done")


def test_a_failed_job_is_deleted_with_its_recording(browser: Browser, tmp_path: Path) -> None:
    """Its first sentences may be with the service. It is not tried again: the recording is still too long then."""
    too_long = {"name": "long.wav", "mimeType": "audio/wav", "buffer": endless(61)}
    with (
        serving(FakeModel(), vad_filter=False, max_audio_s=60, state_dir=tmp_path) as live,
        opened_page(browser, live.url, may_fail=True) as page,
    ):
        add_files(page, too_long)
        expect_state(page, "long.wav", "failed")
        assert len(live.get("/jobs").json()["data"]) == 1
        expect(row(page, "long.wav").get_by_role("button")).to_have_count(1)
        page.get_by_role("button", name="Remove long.wav").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        until(lambda: not live.get("/jobs").json()["data"], what="the end of the job")


def test_another_try_deletes_the_job_of_the_first(browser: Browser, held: Held) -> None:
    """Its first sentences may be with the service."""

    def fail(route: Route) -> None:
        listed = route.fetch().json()
        listed["data"][0] |= {"status": "failed", "error": {"code": "runner_lost", "message": ""}}
        route.fulfill(json=listed)

    def newest() -> str:
        return str(held.live.get("/jobs").json()["data"][0]["id"])

    def exists(job: str) -> bool:
        return held.live.get(f"/jobs/{job}").status_code == httpx.codes.OK

    with opened_page(browser, held.live.url) as page:
        page.route("**/jobs?*", fail)
        add_files(page, clip("tone.wav"))
        expect(row(page, "tone.wav")).to_contain_text("Try it again.")
        first = newest()
        page.unroute("**/jobs?*")
        page.get_by_role("button", name="Try tone.wav again").click()
        expect_state(page, "tone.wav", "done")
        until(lambda: not exists(first), what="the end of the first job")
        assert exists(newest())


def test_another_try_is_offered_where_the_text_advises_it(browser: Browser, held: Held) -> None:
    """The page does not offer what fails again, such as a file without audio."""
    can_retry = """async (codes) => {
      const { canRetry } = await import(new URL("queue/item.js", document.querySelector("[type=module]").src));
      return codes.filter((code) => canRetry({ state: "failed", problem: { code } }));
    }"""
    texts = {key.partition(".")[2]: text for key, text in TEXTS["i18n/en.json"].items() if key.startswith("problem.")}
    advised = [code for code, text in texts.items() if re.search(r"\btry (it )?again\b", text, re.IGNORECASE)]
    with opened_page(browser, held.live.url) as page:
        assert page.evaluate(can_retry, list(texts)) == [code for code in texts if code in advised or code == "unknown"]


def test_an_empty_file_is_explained_and_not_sent(browser: Browser, held: Held) -> None:
    """It is not tried again either."""
    before = held.live.metric('asr_requests_total{code="202",endpoint="/jobs"}')
    with opened_page(browser, held.live.url) as page:
        add_files(page, {"name": "empty.mp3", "mimeType": "audio/mpeg", "buffer": b""})
        expect(row(page, "empty.mp3")).to_contain_text("This file is empty.")
        expect(row(page, "empty.mp3").get_by_role("button")).to_have_count(1)
        assert held.live.metric('asr_requests_total{code="202",endpoint="/jobs"}') == before


@contextmanager
def two_tabs(browser: Browser, address: str) -> Iterator[tuple[Page, Page]]:
    """Open two tabs, of which the first can upload only very slowly."""
    with opened_page(browser, address) as other, other.context.new_page() as one:
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 5_000}
        one.goto(other.url)
        one.locator("main .intake").wait_for()
        one.context.new_cdp_session(one).send("Network.emulateNetworkConditions", slow)
        yield one, other


@pytest.mark.parametrize("host", ["127.0.0.1", INSECURE])
def test_another_tab_takes_over_what_a_closed_tab_was_sending(browser: Browser, held: Held, host: str) -> None:
    """Also what waits for its turn. Until then it shows that the first tab sends it, and sends nothing itself."""
    names = ("one.wav", "two.wav", "three.wav")
    with two_tabs(browser, f"http://{host}:{held.live.port}") as (one, other):
        add_files(one, *(clip(name, 5) for name in names))
        for name in names[:2]:
            expect(row(one, name)).to_contain_text("Uploading")
            expect(row(other, name)).to_contain_text("In progress in another tab")
        expect_state(other, "three.wav", "waiting")
        one.close()
        for name in names:
            expect_state(other, name, "done")


def test_an_upload_can_be_cancelled_and_removed_in_another_tab(browser: Browser, held: Held) -> None:
    """The tab that sends it ends the upload, and does not bring it back."""
    before = held.live.metric('asr_requests_total{code="202",endpoint="/jobs"}')
    with two_tabs(browser, held.live.url) as (one, other):
        add_files(one, clip("one.wav", 5), clip("two.wav", 5))
        for name in ("one.wav", "two.wav"):
            expect_state(other, name, "uploading")
            other.get_by_role("button", name=f"Cancel {name}").click()
            expect_state(one, name, "cancelled")
        other.get_by_role("button", name="Remove one.wav").click()
        other.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(row(one, "one.wav")).to_have_count(0)
        other.reload()
        expect_state(other, "two.wav", "cancelled")
        expect(row(other, "one.wav")).to_have_count(0)
    assert held.live.metric('asr_requests_total{code="202",endpoint="/jobs"}') == before


def test_many_open_jobs_need_few_requests(browser: Browser, held: Held) -> None:
    """A job that is not among the newest is asked for alone."""
    ids = [f"job_{number}" for number in range(250)]
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(url := route.request.url)
        query = parse_qs(urlsplit(url).query)
        if not query:
            route.fulfill(status=404, json={"error": {"code": "job_not_found", "message": ""}})
            return
        start = ids.index(query["after"][0]) + 1 if "after" in query else 0
        page = [{"id": each} for each in ids[start : start + 100]]
        route.fulfill(json={"data": page, "has_more": start < 200, "last_id": page[-1]["id"]})

    find = """async (ids) => {
      const { findJobs } = await import(new URL("api/jobs.js", document.querySelector("[type=module]").src));
      return (await findJobs(ids)).size;
    }"""
    with opened_page(browser, held.live.url, may_fail=True) as page:
        page.route(re.compile("/jobs"), answer)
        assert page.evaluate(find, [*ids, "job_gone"]) == 250
    assert [urlsplit(url).path for url in asked] == ["/jobs"] * 3 + ["/jobs/job_gone"]


def test_the_time_of_an_upload_does_not_count_as_that_of_the_work(browser: Browser, held: Held) -> None:
    """Nothing is said of the time left until some of the recording is transcribed."""
    held.hold()
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    with opened_page(browser, held.live.url) as page:
        page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
        add_files(page, clip("long.wav", 12))
        expect(row(page, "long.wav")).to_contain_text("left", timeout=20_000)
        expect_state(page, "long.wav", "running")
        expect(row(page, "long.wav")).to_contain_text("Transcribing")
        assert "left" not in row(page, "long.wav").inner_text()


def test_names_of_files_are_text_in_every_script(browser: Browser, held: Held) -> None:
    """HTML is shown as it is, and an Arabic name does not turn the sentence around it."""
    names = ("<img src=x onerror=alert(1)>.wav", "مقابلة (1).wav")
    with opened_page(browser, held.live.url) as page:
        add_files(page, *map(clip, names))
        for name in names:
            expect_state(page, name, "done")
        page.locator(".row", has_text=names[1]).get_by_role("button").click()
        expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(f"Remove “\u2068{names[1]}\u2069”?")


def test_a_clock_that_is_set_back_makes_no_recording_wait_longer(browser: Browser, held: Held) -> None:
    """A wait of 30 seconds cannot have an hour left."""
    left = """async (leftS) => {
      const { secondsToWait } = await import(new URL("queue/item.js", document.querySelector("[type=module]").src));
      return secondsToWait({ resumeAt: 1000 * leftS, waitS: 30 }, 0);
    }"""
    with opened_page(browser, held.live.url) as page:
        assert [page.evaluate(left, left_s) for left_s in (-1, 20, 3600)] == [0, 20, 0]


_WORK = """async (job) => {
  const { Queue } = await import(new URL("queue/queue.js", document.querySelector("[type=module]").src));
  const { connection } = await import(new URL("core/connection.js", document.querySelector("[type=module]").src));
  const { statusText } = await import(new URL("views/status.js", document.querySelector("[type=module]").src));
  const library = Object.assign(new EventTarget(), { save: async () => {}, saveAudio: async () => {} });
  const queue = new Queue(library, { send: async () => ({ job: { id: "j" } }), follow: () => {} });
  const { id } = queue.add(new Blob(["sound"]), { name: "long.wav", source: "file", options: {} });
  const item = queue.get(id);
  await new Promise((resolve) => queue.addEventListener("changed", () => item.jobId && resolve()));
  let now = 0;
  performance.now = () => now;
  const texts = [];
  for (const [status, done, seconds] of job) {
    now = 1000 * seconds;
    await queue.noteJob(item, { id: "j", status, progress: { audio_s_done: done, audio_s_total: 100 } });
    texts.push(statusText(item, queue));
  }
  connection.lose();
  return [...texts, statusText(item, queue)];
}"""


def test_the_time_left_is_that_of_work_under_way(browser: Browser, held: Held) -> None:
    """It does not run down without a connection, and is measured again after an interruption of the job."""
    interrupted = [("running", 10, 0), ("running", 20, 10), ("queued", 20, 20), ("running", 20, 30)]
    taken_back = [("running", 10, 0), ("running", 20, 10), ("running", 5, 20), ("running", 15, 30)]
    left = "about 1 minute left"
    with opened_page(browser, held.live.url) as page:
        assert page.evaluate(_WORK, interrupted) == [
            "Transcribing 10%",
            f"Transcribing 20% · {left}",
            "Uploaded. Waiting for its turn",
            "Transcribing 20%",
            "Transcribing 20%",
        ]
        page.reload()
        assert page.evaluate(_WORK, taken_back) == [
            "Transcribing 10%",
            f"Transcribing 20% · {left}",
            "Transcribing 5%",
            f"Transcribing 15% · {left}",
            "Transcribing 15%",
        ]
