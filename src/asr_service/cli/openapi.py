"""`asr-service openapi`: print the OpenAPI document."""

import json

import typer


def openapi_command() -> None:
    r"""Print the API's OpenAPI document as JSON.

    \b
    Example:
      asr-service openapi > openapi.json
    """
    from asr_service.api.app import openapi_schema  # noqa: PLC0415 - the web framework is slow to import

    typer.echo(json.dumps(openapi_schema(), indent=2, ensure_ascii=False))
