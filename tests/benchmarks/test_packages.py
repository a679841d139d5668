"""The packages of benchmarks/ and what they import."""

import ast
import re
from pathlib import Path

import pytest

from asr_service import metrics

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROGRAMS = [path.name for path in sorted(BENCHMARKS.iterdir()) if (path / "__main__.py").exists()]


@pytest.mark.parametrize("package", [*PROGRAMS, "common"])
def test_a_package_imports_only_itself_and_the_shared_package(package):
    imported = {
        node.module.split(".")[1]
        for path in (BENCHMARKS / package).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("benchmarks.")
    }
    assert imported <= {package, "common"}


@pytest.mark.parametrize("package", PROGRAMS)
def test_the_readme_names_each_program(package):
    readme = (BENCHMARKS / "README.md").read_text()
    assert f"python -m benchmarks.{package}" in readme


def test_benchmarks_read_metrics_that_the_service_has():
    """A name that the service no longer has would be read as 0."""
    code = "".join(path.read_text() for path in BENCHMARKS.rglob("*.py"))
    read = {name.removesuffix("_sum") for name in re.findall(r'"(asr_[a-z_]+[a-z])"', code)}
    served = re.findall(r"^# TYPE (\w+)", metrics.render().decode(), re.MULTILINE)
    assert read
    assert read <= set(served)
