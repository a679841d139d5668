"""The JSON form of a spec, which different versions of the service read during an upgrade.

Options that are not set are left out, because a version refuses options that it does not know.
"""

import json
import re
from typing import Final

from pydantic import TypeAdapter, ValidationError

from asr_service import __version__
from asr_service.engine.request_options import RequestOptions
from asr_service.jobs.records import JobSpec

_SPEC: Final = TypeAdapter(JobSpec)
_VERSION: Final = "version"
"""The version of the service that wrote the spec. Versions without this key ignore it."""


def write_spec(spec: JobSpec) -> str:
    return json.dumps({_VERSION: __version__, **_SPEC.dump_python(spec, mode="json", exclude_none=True)})


def read_spec(data: str) -> tuple[JobSpec, bool]:
    """Return the spec, and whether a newer version has written it in a form that this one cannot read completely.

    Such a spec has default options. Raises ValueError: the spec is damaged.
    """
    try:
        return _SPEC.validate_json(data), False
    except ValidationError:
        fields = json.loads(data)
        if not isinstance(fields, dict) or _numbers(fields.get(_VERSION)) <= _numbers(__version__):
            raise
    try:
        return _SPEC.validate_python({**fields, "options": {}}), True
    except ValidationError:
        return JobSpec(RequestOptions()), True


def _numbers(version: object) -> tuple[int, ...]:
    return tuple(map(int, re.findall("[0-9]+", version))) if isinstance(version, str) else ()
