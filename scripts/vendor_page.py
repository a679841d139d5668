"""Write the third-party files of the page into the package, from npm: `python -m scripts.vendor_page`.

The files are kept in the repository, so that neither an installation nor a browser needs another host. This script is
run again for a new version only. A file whose hash differs from the table below is not written.
"""

import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

_STATIC: Final = Path(__file__).parent.parent / "src" / "asr_service" / "api" / "page" / "static"


@dataclass(frozen=True, slots=True)
class Vendored:
    """One file of an npm package."""

    source: str
    """Path in the package."""
    target: str
    """Path below the page's static folder."""
    sha256: str


PACKAGES: Final[dict[str, tuple[Vendored, ...]]] = {
    "docx@9.15.2": (
        Vendored(
            "dist/index.mjs",
            "vendor/docx.js",
            "76235885a9f9ae43ae4b6ad60b8e1fef3ef64a0d205fc0ab0afe7b8fb4205652",
        ),
        Vendored(
            "LICENSE",
            "vendor/docx-licence.txt",
            "b5b2364c0c95a26b2a2399d7e706a61acac680be1d5b180b00592ee85830bffb",
        ),
    ),
    # docx contains these two.
    "fflate@0.8.3": (
        Vendored(
            "LICENSE",
            "vendor/fflate-licence.txt",
            "0a1df3a083d0c010560aa342e87959c8c1070e6fd54545741f083f22d0c8b551",
        ),
    ),
    "nanoid@6.0.1": (
        Vendored(
            "LICENSE",
            "vendor/nanoid-licence.txt",
            "4383cb2c3608397ce7a4159502614ed66890f8999c2a9c056dd3b1024d6721f0",
        ),
    ),
    "@fontsource-variable/atkinson-hyperlegible-next@5.3.0": (
        Vendored(
            "files/atkinson-hyperlegible-next-latin-ext-wght-normal.woff2",
            "fonts/sans-latin-ext.woff2",
            "7dae0c6c66af1aec82e096186aeb1f0e6fa36ab8061ed65422f2b7daf4dd93f3",
        ),
        Vendored(
            "files/atkinson-hyperlegible-next-latin-wght-normal.woff2",
            "fonts/sans-latin.woff2",
            "18b2a1a39a2fa298b0ba5390aca68462669826c90925656f1c1f6796e0e1bbaf",
        ),
        Vendored(
            "LICENSE",
            "fonts/sans-licence.txt",
            "474a034e99845062f661855caaa505880d0e9009deddc2727a92795eab374955",
        ),
    ),
    "@fontsource-variable/source-serif-4@5.3.1": (
        Vendored(
            "files/source-serif-4-cyrillic-wght-normal.woff2",
            "fonts/serif-cyrillic.woff2",
            "a81082707b85203d7f2ae33833f7ae0bf832db167c8710f92f805a9808fb051a",
        ),
        Vendored(
            "files/source-serif-4-greek-wght-normal.woff2",
            "fonts/serif-greek.woff2",
            "54c4728aa0fd97d59b89b6d89b230065794b4c088c55efe71abc9ce882cfa853",
        ),
        Vendored(
            "files/source-serif-4-vietnamese-wght-normal.woff2",
            "fonts/serif-vietnamese.woff2",
            "c3de01b5144e1a2d7e70eeaf66ab92afdedcc4424ed1d7ffc1993a657d1c762a",
        ),
        Vendored(
            "files/source-serif-4-latin-ext-wght-normal.woff2",
            "fonts/serif-latin-ext.woff2",
            "d10ccbbd0dc4ebae2938958dc1f622a53460fe297e9c958564742dd684309c3f",
        ),
        Vendored(
            "files/source-serif-4-latin-wght-normal.woff2",
            "fonts/serif-latin.woff2",
            "382475f38242c52d42a3e5ff8dc69b5d73f10d0d21e4550b5fe232984688779a",
        ),
        Vendored(
            "LICENSE",
            "fonts/serif-licence.txt",
            "18aabf190848725e2576eefb5c29ba06aac1029d02132252a7f312eac2e50cf3",
        ),
    ),
}
"""The files of each package, by its name and version."""


def main() -> int:
    """Download every package, check its files and write them. Returns 1 if a hash differs."""
    differing = [line for package, files in PACKAGES.items() for line in _vendor(package, files)]
    print("\n".join(differing) or "Every file is as expected.")  # noqa: T201
    return 1 if differing else 0


def _vendor(package: str, files: tuple[Vendored, ...]) -> list[str]:
    differing = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as opened:
            for file in files:
                member = opened.extractfile(f"package/{file.source}")
                if member is None:
                    raise SystemExit(f"{package} has no file {file.source}.")
                body = member.read()
                found = sha256(body).hexdigest()
                if found != file.sha256:
                    differing.append(f"{package} {file.source}: the hash is {found}")
                    continue
                target = _STATIC / file.target
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(body)
    return differing


if __name__ == "__main__":
    sys.exit(main())
