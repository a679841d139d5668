"""A directory that one running service owns."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from asr_service.errors import ConfigurationError
from asr_service.serving.owned_directory import owned_directory


def owned(directory: Path) -> AbstractContextManager[None]:
    return owned_directory(directory, setting="ASR_METRICS_DIR", patterns=("*.db",), mode=0o700)


def test_two_services_cannot_own_a_directory(tmp_path: Path) -> None:
    """A second service would delete the files of the first. Once the first has ended, it may take the directory."""
    (tmp_path / "old.db").touch()
    with owned(tmp_path):
        assert not (tmp_path / "old.db").exists()
        (tmp_path / "new.db").touch()
        with pytest.raises(ConfigurationError, match="in use by another") as refused, owned(tmp_path):
            pass
        assert refused.value.param == "ASR_METRICS_DIR"
        assert (tmp_path / "new.db").exists()
    with owned(tmp_path):
        assert not (tmp_path / "new.db").exists()


def test_files_of_others_are_kept(tmp_path: Path) -> None:
    """The directory is removed at the end only if it is empty."""
    (tmp_path / "notes.txt").touch()
    with owned(tmp_path):
        pass
    assert (tmp_path / "notes.txt").exists()


def test_a_directory_that_cannot_be_created_is_named_with_its_setting() -> None:
    with (
        pytest.raises(ConfigurationError, match=r"/proc/nowhere cannot be used: .* Set ASR_METRICS_DIR"),
        owned(Path("/proc/nowhere")),
    ):
        pass
