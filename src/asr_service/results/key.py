"""The key of a result: a hash of everything that the transcript depends on, and of its owner."""

import hashlib
import json
from dataclasses import asdict
from typing import Final

from asr_service.engine.fingerprint import EngineFingerprint
from asr_service.engine.options import DecodingOptions

_SCHEMA: Final = 1
"""Increase it when the stored form changes. `EngineFingerprint` has the version of the code."""


def result_key(
    recording_sha256: str, options: DecodingOptions, fingerprint: EngineFingerprint, owner: str | None
) -> str:
    """Return the key of a transcript. `owner` is the name of an API key, or None if all callers share results."""
    depends_on = [_SCHEMA, recording_sha256, asdict(options), asdict(fingerprint), owner]
    return f"r-{hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()}"
