"""The repository's own files: locks, recordings and their licences, documents."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from asr_service import __version__
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
    ("lock", "dependencies"),
    [
        ("requirements.lock", RUNTIME + BUILD),
        ("requirements-dev.lock", DEV + BUILD),
        ("requirements-bench.lock", BENCH + BUILD),
        ("requirements-cuda.lock", RUNTIME + EXTRAS["cuda"]),
    ],
)
def test_each_lock_pins_every_dependency(lock, dependencies):
    """Each dependency is pinned to a version in its range. `make lock` updates the locks."""
    pinned = pins(lock)
    for requirement in map(Requirement, dependencies):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert any(requirement.specifier.contains(version) for version in versions), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_each_lock_has_hashes_and_no_registry(lock):
    """A lock works with any package index, and pip installs only the locked files."""
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|^-|^\s*--(?!hash=sha256:)", text, re.MULTILINE)
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_the_locks_have_the_same_versions(lock):
    """The versions under test are those of the service."""
    versions = pins(lock)
    assert {name: versions.get(name) for name in pins("requirements.lock")} == pins("requirements.lock")


def test_every_recording_has_a_text_and_a_source():
    """Each recording has a row in the manifest and a source with a licence. Together they have less than 2.5 MB."""
    rows = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
    sources = re.findall(r"^\| (\S+\.\w+) \|", (DATA / "SOURCES.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {row["file"] for row in rows} == AUDIO == set(sources)
    assert sum((DATA / name).stat().st_size for name in AUDIO) < 2_500_000


def test_the_recordings_cover_every_kind_of_input():
    """They have three languages, a long recording, an English translation, and audio without speech."""
    assert len({recording.language for recording in RECORDINGS.values() if recording.language}) >= 3
    assert max(recording.seconds for recording in SPEECH.values()) > 30
    assert any(recording.english for recording in SPEECH.values())
    assert WORDLESS
    assert all(recording.text for recording in SPEECH.values())


def pins(lock: str) -> dict[str, list[str]]:
    """Return the locked versions of each package."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


FOLDERS = ("benchmarks", "deploy", "examples")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / name / "README.md" for name in FOLDERS)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_are_valid(page):
    """Each link leads to an existing file, and to a heading in it."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


def test_the_deployment_files_are_listed():
    """deploy/README.md names each directory, with the page that says how to install it."""
    page = (ROOT / "deploy/README.md").read_text(encoding="utf-8")
    assert {f"`{path.name}/`" for path in (ROOT / "deploy").iterdir() if path.is_dir()} <= set(
        re.findall("`[^`]+`", page)
    )


def test_the_readme_lists_each_page_once_and_only_existing_commands():
    """Its commands are targets of the Makefile or commands of `asr-service`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", text, re.MULTILINE)
    listed = [link.removesuffix("/README.md").rstrip("/") for link in listed]
    assert len(set(listed)) == len(listed)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in re.findall(r"make (\w+)", text))
    commands = re.findall(r"asr-service (\w+)", text)
    assert set(commands) <= set(command_names())


def test_the_architecture_shows_the_layers_that_are_checked():
    """The order of packages in the document is the order in import-linter's contracts."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    shown = [block.splitlines() for block in re.findall(r"^```\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    layers = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert shown[: len(layers)] == layers


def test_each_release_has_a_section_in_the_changelog():
    """Each tag vX.Y.Z has one with its date, and no section is newer than the version of the code."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}", section) for section in sections]
    assert all(released), sections
    versions = [tuple(map(int, match.groups())) for match in released if match]
    assert versions == sorted(versions, reverse=True)
    assert all(version <= Version(__version__).release for version in versions)
    if (ROOT / ".git").exists():
        command = ["git", "-c", "safe.directory=*", "tag"]  # the checkout may belong to another user
        tags = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        tagged = re.findall(r"^v(\d+)\.(\d+)\.(\d+)$", tags, re.MULTILINE)
        assert {tuple(map(int, version)) for version in tagged} <= set(versions)
