"""The packages of benchmarks/ and what they import."""

import ast
from pathlib import Path

import pytest

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
