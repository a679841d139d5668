"""Reads the form fields of /transcribe and /translate."""

from collections.abc import Iterable

from asr_service.api.native.schemas import TranscribeParameters
from asr_service.api.upload import Fields
from asr_service.errors import MalformedRequest
from asr_service.validation import check_fields


def parse_parameters(fields: Fields) -> TranscribeParameters:
    """Check the fields' names and values.

    Raises InvalidParameter, which names the first that is wrong, and MalformedRequest where one is given twice.
    """
    return check_fields(TranscribeParameters, once(fields))


def once(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields by name, without the empty ones that a web form left out.

    Raises MalformedRequest: a field is given twice.
    """
    fields: dict[str, str] = {}
    for name, value in given:
        if name in fields:
            raise MalformedRequest(f"Field {name[:64]!r} is given twice.", param=name[:64])
        fields[name] = value
    return {name: value for name, value in fields.items() if value != ""}
