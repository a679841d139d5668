"""The stages of a request's work, each timed for /metrics and for its trace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from asr_service import metrics, tracing


@contextmanager
def stage(name: metrics.Stage) -> Iterator[None]:
    """Time what goes on inside, waiting included, whether it fails or not."""
    began = time.monotonic()
    failed = None
    try:
        yield
    except BaseException as error:
        failed = tracing.failure_of(error)
        raise
    finally:
        ended = time.monotonic()
        metrics.STAGE_DURATION.labels(name).observe(ended - began)
        tracing.note_span(name, began, ended, failed=failed)
