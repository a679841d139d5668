"""The third-party files of the page are those that the script names, with their licences."""

from hashlib import sha256

from asr_service.api.page.assets import page_assets
from scripts.vendor_page import PACKAGES

FILES = [file for files in PACKAGES.values() for file in files]


def test_each_vendored_file_has_the_hash_of_its_package() -> None:
    """Nobody has edited it."""
    assets = page_assets().files
    assert {file.target: sha256(assets[file.target].body).hexdigest() for file in FILES} == {
        file.target: file.sha256 for file in FILES
    }


def test_each_package_has_its_licence() -> None:
    """And every font and library is from a package."""
    assert all(any("licence" in file.target for file in files) for files in PACKAGES.values())
    foreign = {path for path in page_assets().files if path.startswith(("fonts/", "vendor/"))}
    assert foreign == {file.target for file in FILES}
