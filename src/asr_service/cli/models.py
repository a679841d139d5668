"""`asr-service models list`, `fetch` and `verify`."""

import json
import sys
from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from asr_service.cli.download import download_progress
from asr_service.errors import ModelUnavailable
from asr_service.hardware.spec import parse_devices
from asr_service.logs import configure_logs
from asr_service.models.registry import MODELS, ModelSpec, spec_named
from asr_service.models.resolution import Model, ensure_model, model_name, model_on_disk, resolve_model, verify_model
from asr_service.settings import Settings, load_settings

_PRECISIONS = ("int8_float16", "float16", "int8")
_HEADINGS = ("model", "download", "languages", "mel bins", "memory: " + " / ".join(_PRECISIONS))

models_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@models_app.command("list")
def list_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    r"""List the named models, what each needs, and where it is on this machine.

    \b
    Examples:
      asr-service models list
      asr-service models list --json | jq -r '.[] | select(.path) | .name'

    ASR_MODEL is one of these names, or the path of a folder with a model in CTranslate2's format.
    """
    settings = load_settings()
    rows = [_row(settings, spec) for spec in MODELS.values()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows)


@models_app.command("fetch")
def fetch_command(
    name: Annotated[str | None, typer.Argument(help="A name of `models list`. Default: ASR_MODEL.")] = None,
) -> None:
    r"""Download a model if needed, and print its folder. An interrupted download continues where it stopped.

    \b
    Examples:
      asr-service models fetch large-v3
      ASR_MODEL_DIR=/srv/models asr-service models fetch small
      HF_ENDPOINT=https://hub.example.com asr-service models fetch base

    The exit code is 69 if there is no complete model.
    """
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)  # logs go to standard error, the folder to standard output
    with download_progress() as report:
        for model in [spec_named(name)] if name else _configured(settings):
            typer.echo(ensure_model(settings, model, report))


@models_app.command("verify")
def verify_command(
    name: Annotated[
        str | None, typer.Argument(help="A name of `models list`. Default: ASR_MODEL and all models on the disk.")
    ] = None,
) -> None:
    r"""Read every byte of models on the disk and compare their sums.

    \b
    Examples:
      asr-service models verify
      asr-service models verify large-v3

    The exit code is 69 if a model is incomplete or damaged.
    """
    settings = load_settings()
    complete = [_verify(settings, model) for model in ([spec_named(name)] if name else _to_verify(settings))]
    if not all(complete):
        raise typer.Exit(ModelUnavailable.exit_code)


def _verify(settings: Settings, model: Model) -> bool:
    try:
        folder = verify_model(settings, model)
    except ModelUnavailable as error:
        typer.echo(f"{model_name(model)}: incomplete or damaged\n  {error.message}", err=True)
        return False
    typer.echo(f"{model_name(model)}: complete, in {folder}")
    return True


def _configured(settings: Settings) -> list[Model]:
    """Return what the slots will load, each model once."""
    n_slots = Counter(parse_devices(settings.devices))
    return list(dict.fromkeys(resolve_model(settings, device, n) for device, n in n_slots.items()))


def _to_verify(settings: Settings) -> list[Model]:
    on_disk: list[Model] = [spec for spec in MODELS.values() if model_on_disk(settings, spec) is not None]
    return list(dict.fromkeys([*_configured(settings), *on_disk]))


def _row(settings: Settings, spec: ModelSpec) -> dict[str, Any]:
    folder = model_on_disk(settings, spec)
    return {
        "name": spec.name,
        "repository": spec.repository,
        "revision": spec.revision,
        "size_bytes": spec.size_bytes,
        "sha256": spec.sha256,
        "parameters": spec.parameters,
        "n_mels": spec.n_mels,
        "multilingual": spec.multilingual,
        "memory_bytes": {precision: spec.memory_need_bytes(precision) for precision in _PRECISIONS},
        "memory_published": [precision for precision in _PRECISIONS if spec.memory_is_published(precision)],
        "path": str(folder) if folder else None,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (*_HEADINGS, "on this machine"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['size_bytes'] / 1e9:.2f} GB",
            "99" if row["multilingual"] else "English",
            str(row["n_mels"]),
            " / ".join(_memory(row, precision) for precision in _PRECISIONS),
            row["path"] or "-",
        )
    console = Console(width=sys.maxsize)  # so that no path is cut off; a terminal wraps long lines
    console.print(table)
    console.print(
        "~ is an estimate. The other figure was published by faster-whisper (large-v2, int8, Tesla V100S) and was not"
        " measured by this project.\nASR_COMPUTE_TYPE=auto means int8_float16 on CUDA and int8 on a CPU."
    )


def _memory(row: dict[str, Any], precision: str) -> str:
    sign = "" if precision in row["memory_published"] else "~"
    return f"{sign}{row['memory_bytes'][precision] / 1e9:.1f} GB"
