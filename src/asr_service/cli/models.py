"""`asr-service models list | fetch | verify`."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

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
    r"""Print the models that have a name, what each needs, and where it is on this machine.

    \b
    Examples:
      asr-service models list
      asr-service models list --json | jq -r '.[] | select(.path) | .name'

    ASR_MODEL takes a name of these, or the path of any folder with a model in CTranslate2's form.
    """
    settings = load_settings()
    rows = [_row(settings, spec) for spec in MODELS.values()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows)


@models_app.command("fetch")
def fetch_command(
    name: Annotated[str | None, typer.Argument(help="A name of `models list`; by default what ASR_MODEL says.")] = None,
) -> None:
    r"""Fetch a model, or find that it is there, and print its folder. An interrupted fetch goes on where it ended.

    \b
    Examples:
      asr-service models fetch large-v3
      ASR_MODEL_DIR=/srv/models asr-service models fetch small
      HF_ENDPOINT=https://hub.example.com asr-service models fetch base

    Ends with 69 where there is no model to be had.
    """
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)  # to standard error: the folder alone goes to the output
    for model in [spec_named(name)] if name else _configured(settings):
        typer.echo(ensure_model(settings, model))


@models_app.command("verify")
def verify_command(
    name: Annotated[
        str | None, typer.Argument(help="A name of `models list`; by default what ASR_MODEL says and all on the disk.")
    ] = None,
) -> None:
    r"""Read every byte of models on the disk and compare their sums. Ends with 69 where one is not whole.

    \b
    Examples:
      asr-service models verify
      asr-service models verify large-v3
    """
    settings = load_settings()
    whole = [_verify(settings, model) for model in ([spec_named(name)] if name else _to_verify(settings))]
    if not all(whole):
        raise typer.Exit(ModelUnavailable.exit_code)


def _verify(settings: Settings, model: Model) -> bool:
    try:
        folder = verify_model(settings, model)
    except ModelUnavailable as error:
        typer.echo(f"{model_name(model)}: not whole\n  {error.message}", err=True)
        return False
    typer.echo(f"{model_name(model)}: whole, in {folder}")
    return True


def _configured(settings: Settings) -> list[Model]:
    """Name what the slots will load, each model once."""
    models = [resolve_model(settings, device) for device in parse_devices(settings.devices)]
    return list(dict.fromkeys(models))


def _to_verify(settings: Settings) -> list[Model]:
    there: list[Model] = [spec for spec in MODELS.values() if model_on_disk(settings, spec) is not None]
    return list(dict.fromkeys([*_configured(settings), *there]))


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
        "memory_measured": [precision for precision in _PRECISIONS if spec.memory_is_measured(precision)],
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
    console = Console(width=sys.maxsize)  # no path is cut short: a terminal wraps what is too long for it
    console.print(table)
    console.print("~ is an estimate, the rest is measured. `auto` is int8_float16 on CUDA and int8 on a CPU.")


def _memory(row: dict[str, Any], precision: str) -> str:
    sign = "" if precision in row["memory_measured"] else "~"
    return f"{sign}{row['memory_bytes'][precision] / 1e9:.1f} GB"
