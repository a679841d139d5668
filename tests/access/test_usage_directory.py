"""The directory in which slots share the usage of API keys."""

import os

import pytest

from asr_service.access import usage_directory
from asr_service.errors import ConfigurationError


def test_two_services_cannot_share_a_directory(tmp_path):
    """A second service would delete the usage of the first. Once the first has ended, it may take the directory."""
    owed = usage_directory.bucket_file(tmp_path, "alice")
    lock = usage_directory.prepare(tmp_path)
    owed.write_text("1")
    with pytest.raises(ConfigurationError, match="in use by another"):
        usage_directory.prepare(tmp_path)
    assert owed.exists()
    os.close(lock)
    os.close(usage_directory.prepare(tmp_path))
    assert not owed.exists()
