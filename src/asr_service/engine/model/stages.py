"""The stages of a window's work in the model."""

from enum import StrEnum


class Stage(StrEnum):
    """A kind of model call. A window goes through them in this order; `ALIGN` only for word times."""

    ENCODE = "encode"
    GENERATE = "generate"
    ALIGN = "align"
