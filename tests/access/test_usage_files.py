"""The directory in which slots keep what keys use."""

import os

import pytest

from asr_service.access import usage_files
from asr_service.errors import ConfigurationError


def test_a_directory_is_one_services(tmp_path):
    """A second one would have the first forget what its keys owe; when the first has ended it may."""
    owed = usage_files.allowance_file(tmp_path, "alice")
    lock = usage_files.prepare(tmp_path)
    owed.write_text("1")
    with pytest.raises(ConfigurationError, match="in use by another"):
        usage_files.prepare(tmp_path)
    assert owed.exists()
    os.close(lock)
    os.close(usage_files.prepare(tmp_path))
    assert not owed.exists()
