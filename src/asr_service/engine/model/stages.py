"""The stages of a window."""

from enum import StrEnum


class Stage(StrEnum):
    """What the model does with a window, in this order."""

    ENCODE = "encode"
    GENERATE = "generate"
    ALIGN = "align"
