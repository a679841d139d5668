"""Selects the tests of real client programs only on request."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests with the marker `clients` unless `-m` names it: they need half a gigabyte of packages."""
    if "clients" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("clients")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
