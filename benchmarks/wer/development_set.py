"""Build a development set: a few hundred short recordings in many languages with their texts.

    python -m benchmarks.wer.development_set --out FOLDER --add OTHER_FOLDER

Downloads packages with `apt-get download`, so it needs Debian or Ubuntu. Takes spoken dialogues of the game Fish
Fillets (Dutch, Czech) and descriptions of Tux Paint's stamps, and adds the recordings of other folders with a
manifest.jsonl, as they are. Writes FOLDER/manifest.jsonl and FOLDER/files. The choice depends on the names of the files
only, so it is the same on every machine with the same packages.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import soundfile

from asr_service.languages import LANGUAGES
from benchmarks.common.arguments import plain_parser
from benchmarks.common.corpus import audio_folder, manifest
from benchmarks.common.scoring import words_of

_FILLETS: Final = ("fillets-ng-data", "fillets-ng-data-nl", "fillets-ng-data-cs")
_STAMPS: Final = "tuxpaint-stamps-default"
_N_DIALOGUES: Final = 60
"""Recordings of each language of the game."""
_N_STAMPS: Final = 24
"""Recordings of each language of the stamps."""
_SECONDS: Final = (1.0, 60.0)
_MIN_WORDS: Final = 2
_CHARACTERS_PER_S: Final = (3, 25)
"""A text that is shorter or longer for its recording is not what is said."""
_NOT_AS_SPOKEN: Final = re.compile(r"[0-9()\[\]<>$€£%&@*/=_…|]")
"""A text with one of these is left out: it may be read in several ways, or not at all."""
_DIALOGUE: Final = re.compile(r'dialogId\("([^"]+)"[^\n]*\n\s*dialogStr\("((?:[^"\\]|\\.)*)"\)')


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recording with the text that its package has for it."""

    path: Path
    language: str
    text: str
    source: str

    @property
    def name(self) -> str:
        """A file name that no other recording of the set has."""
        folders = [part for part in self.path.parts[-4:-1] if part != self.language]
        return "-".join([self.source, self.language, *folders[-2:], self.path.name])

    @property
    def rank(self) -> str:
        """Sorts the recordings in an order that has nothing to do with their contents."""
        return hashlib.sha256(self.name.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Recording:
    """A line of the manifest."""

    file: str
    seconds: float
    language: str
    reference: str
    category: str
    source: str


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        roots = _download(args.packages or Path(folder), Path(folder))
        rows = [*_copied(_chosen(dialogues(roots), _N_DIALOGUES), args.out)]
        rows += _copied(_chosen(stamps(roots[_STAMPS]), _N_STAMPS), args.out)
    rows += [row for other in args.add for row in _added(other, args.out)]
    lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows]
    (args.out / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")
    n_short = sum(row.seconds < 6 for row in rows)
    print(f"{len(rows)} recordings in {len({row.language for row in rows})} languages, {n_short} shorter than 6 s.")


def _download(packages: Path, folder: Path) -> dict[str, Path]:
    """Download the packages that are not in `packages` yet, and unpack all into `folder`."""
    roots: dict[str, Path] = {}
    for name in (*_FILLETS, _STAMPS):
        if not [*packages.glob(f"{name}_*.deb")]:
            subprocess.run(["apt-get", "download", "--quiet", name], cwd=packages, check=True)
        roots[name] = folder / name
        subprocess.run(["dpkg-deb", "-x", next(packages.glob(f"{name}_*.deb")), roots[name]], check=True)
    return roots


def dialogues(roots: dict[str, Path]) -> Iterator[Candidate]:
    """Yield the game's dialogues. `roots` has the folder of each unpacked package."""
    scripts = roots["fillets-ng-data"] / "usr/share/games/fillets-ng/script"
    for language in ("nl", "cs"):
        sounds = roots[f"fillets-ng-data-{language}"] / "usr/share/games/fillets-ng/sound"
        for script in sorted(scripts.glob(f"*/dialogs_{language}.lua")):
            for name, text in _DIALOGUE.findall(script.read_text(encoding="utf-8")):
                path = sounds / script.parent.name / language / f"{name}.ogg"
                yield Candidate(path, language, text.replace('\\"', '"').replace("\\n", " "), "fillets")


def stamps(root: Path) -> Iterator[Candidate]:
    """Yield the descriptions. The first line of a text file is English, and the others are `LANGUAGE.utf8=TEXT`."""
    for path in sorted((root / "usr/share/tuxpaint/stamps").rglob("*_desc*.ogg")):
        stamp, language = path.stem.rsplit("_desc", 1)
        language = language.removeprefix("_") or "en"
        texts = path.with_name(f"{stamp}.txt")
        if language not in LANGUAGES or not texts.exists():
            continue
        first, *lines = texts.read_text(encoding="utf-8").splitlines()
        translated = dict(line.split(".utf8=", 1) for line in lines if ".utf8=" in line)
        text = first if language == "en" else translated.get(language, first)
        if language == "en" or text != first:
            yield Candidate(path, language, text, "stamps")


def _chosen(candidates: Iterable[Candidate], n_of_language: int) -> Iterator[Candidate]:
    by_language: dict[str, list[Candidate]] = {}
    for each in candidates:
        by_language.setdefault(each.language, []).append(each)
    for own in by_language.values():
        yield from islice(filter(is_usable, sorted(own, key=lambda each: each.rank)), n_of_language)


def is_usable(candidate: Candidate) -> bool:
    """Return True if the recording is long enough, and the text may be what is said."""
    if not candidate.path.exists() or _NOT_AS_SPOKEN.search(candidate.text):
        return False
    seconds = soundfile.info(candidate.path).duration
    if not _SECONDS[0] <= seconds <= _SECONDS[1]:
        return False
    least, most = (seconds * rate for rate in _CHARACTERS_PER_S)
    return least <= len(candidate.text) <= most and len(words_of(candidate.text, candidate.language)) >= _MIN_WORDS


def _copied(candidates: Iterable[Candidate], out: Path) -> Iterator[Recording]:
    (out / "files").mkdir(parents=True, exist_ok=True)
    for each in candidates:
        shutil.copyfile(each.path, out / "files" / each.name)
        seconds = round(soundfile.info(each.path).duration, 2)
        yield Recording(each.name, seconds, each.language, each.text, "speech", each.source)


def _added(folder: Path, out: Path) -> Iterator[Recording]:
    (out / "files").mkdir(parents=True, exist_ok=True)
    for row in manifest(folder):
        if not _is_plain_speech(row):
            continue
        shutil.copyfile(audio_folder(folder) / row["file"], out / "files" / row["file"])
        category = row.get("category", "speech")
        yield Recording(row["file"], row["seconds"], row["language"], row["reference"], category, folder.name)


def _is_plain_speech(row: dict[str, Any]) -> bool:
    fits = row.get("reference") and row.get("language") in LANGUAGES and "duplicate_of" not in row
    return bool(fits) and _SECONDS[0] <= row.get("seconds", 0) <= _SECONDS[1]


def _arguments() -> argparse.Namespace:
    parser = plain_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the set; its files are overwritten")
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="folders with a manifest.jsonl to add")
    parser.add_argument("--packages", type=Path, help="folder that keeps the downloaded packages")
    return parser.parse_args()


if __name__ == "__main__":
    main()
