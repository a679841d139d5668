"""Time the stages of a request for /metrics and for its trace.

The stages here are those outside the model. The scheduler times its queue and the calls of the model
(`engine.model.stages`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from asr_service import metrics, tracing


@contextmanager
def stage(name: Literal["receive", "cache", "decode", "vad", "features", "render"]) -> Iterator[None]:
    """Time the body, its waits included, whether it succeeds or raises."""
    began = time.monotonic()
    failed = None
    try:
        yield
    except BaseException as error:
        failed = tracing.error_code(error)
        raise
    finally:
        ended = time.monotonic()
        metrics.STAGE_DURATION.labels(name).observe(ended - began)
        tracing.record_span(name, began, ended, failed=failed)
