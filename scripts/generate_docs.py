"""Write the documents that are generated from the code: `make docs`."""

from pathlib import Path

from scripts.cli_reference import cli_markdown
from scripts.settings_reference import settings_env, settings_markdown

ROOT = Path(__file__).parents[1]
DOCUMENTS = {"docs/cli.md": cli_markdown, "docs/settings.md": settings_markdown, ".env.example": settings_env}
"""The function that renders each file, by its path in the repository."""

if __name__ == "__main__":
    for path, render in DOCUMENTS.items():
        (ROOT / path).write_text(render(), encoding="utf-8")
