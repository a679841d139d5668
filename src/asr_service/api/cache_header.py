"""What a request asks of the cache of results, and the header with which its response says what became of that."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from asr_service.results.cache import CacheOutcome, CachePolicy

HEADER: Final = "X-ASR-Cache"


def cache_policy(headers: Headers) -> CachePolicy:
    """Read Cache-Control: `no-cache` asks for a new transcript, `no-store` that none is stored."""
    directives = {each.strip().lower() for value in headers.getlist("cache-control") for each in value.split(",")}
    return CachePolicy(reads="no-cache" not in directives, stores="no-store" not in directives)


def note_outcome(scope: Scope, outcome: CacheOutcome) -> None:
    """Note the outcome for the header and the log line of a request."""
    scope.setdefault("state", {})["cache_outcome"] = outcome


def outcome_of(scope: Scope) -> CacheOutcome | None:
    """Return the noted outcome; None if the request did not ask the cache."""
    outcome: CacheOutcome | None = scope.get("state", {}).get("cache_outcome")
    return outcome
