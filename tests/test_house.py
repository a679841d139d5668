"""The house keeps its own rules: what is locked, what is shipped, what is licensed."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asr_service.cli.main import command_names
from speech import DATA, RECORDINGS, SPEECH, WORDLESS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
RUNTIME = PROJECT["project"]["dependencies"] + EXTRAS["base-model"] + EXTRAS["otel"]
DEV = RUNTIME + PROJECT["dependency-groups"]["dev"]
BENCH = DEV + PROJECT["dependency-groups"]["bench"]
BUILD = PROJECT["dependency-groups"]["build"]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock", "requirements-cuda.lock")
AUDIO = {path.name for path in DATA.iterdir()} - {"manifest.json", "SOURCES.md"}


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", RUNTIME + BUILD),
        ("requirements-dev.lock", DEV + BUILD),
        ("requirements-bench.lock", BENCH + BUILD),
        ("requirements-cuda.lock", RUNTIME + EXTRAS["cuda"]),
    ],
)
def test_the_lock_has_what_the_project_asks_for(lock, wanted):
    """Each dependency is pinned to a version in its range; `make lock` follows a change of pyproject.toml."""
    pinned = pins(lock)
    for requirement in map(Requirement, wanted):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert any(requirement.specifier.contains(version) for version in versions), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_registry_and_hashes_everything(lock):
    """A lock serves whichever index its user has, and nothing is installed that is not the file that was locked."""
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|^-|^\s*--(?!hash=sha256:)", text, re.MULTILINE)
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_the_locks_agree(lock):
    """What is tested is what is served."""
    others = pins(lock)
    assert {name: others.get(name) for name in pins("requirements.lock")} == pins("requirements.lock")


def test_every_recording_has_its_words_and_its_source():
    """No recording without a row in the manifest and a source with a licence; all of them under 2.5 MB."""
    rows = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
    sources = re.findall(r"^\| (\S+\.\w+) \|", (DATA / "SOURCES.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {row["file"] for row in rows} == AUDIO == set(sources)
    assert sum((DATA / name).stat().st_size for name in AUDIO) < 2_500_000


def test_the_recordings_cover_what_is_promised():
    """At least three languages, a long recording, an English version of a foreign one, and sound without speech."""
    assert len({recording.language for recording in RECORDINGS.values() if recording.language}) >= 3
    assert max(recording.seconds for recording in SPEECH.values()) > 30
    assert any(recording.english for recording in SPEECH.values())
    assert WORDLESS
    assert all(recording.text for recording in SPEECH.values())


def pins(lock: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    if path.is_file()
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    """To a file that is there, and to a heading that it has."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


def test_the_readme_lists_a_thing_once():
    """And the commands that it shows are those of the Makefile and of the command line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", text, re.MULTILINE)
    listed = [link.removesuffix("/README.md").rstrip("/") for link in listed]
    assert len(set(listed)) == len(listed)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in re.findall(r"make (\w+)", text))
    commands = re.findall(r"asr-service (\w+)", text)
    assert set(commands) <= set(command_names())


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_documents_show_the_layers_that_are_checked(page):
    """The order of packages in a document is the order in import-linter's contract."""
    packages, engine = (contract["layers"] for contract in PROJECT["tool"]["importlinter"]["contracts"][:2])
    shown = re.findall(r"^ *```\n(.*?)^ *```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    shown = [[line.strip() for line in block.splitlines()] for block in shown]
    assert packages in shown
    if page == "docs/architecture.md":
        assert engine in shown
