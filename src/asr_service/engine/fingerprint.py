"""What decides a transcript besides the recording and the options of the request."""

from dataclasses import dataclass

from asr_service import __version__
from asr_service.engine.model.protocol import ModelFacts
from asr_service.engine.sizing import encoder_margin_s
from asr_service.settings import Settings


@dataclass(frozen=True, slots=True)
class EngineFingerprint:
    """Two slots with equal fingerprints may use each other's transcripts and segments."""

    version: str
    model: str
    revision: str
    compute_type: str
    device: str
    """The kind of the device: its rounding differs."""
    margin_s: float | None
    chunk_length_s: float | None
    block_length_s: float


def engine_fingerprint(settings: Settings, facts: ModelFacts) -> EngineFingerprint:
    """Return the fingerprint of a slot."""
    return EngineFingerprint(
        version=__version__,
        model=facts.name,
        revision=facts.revision,
        compute_type=facts.compute_type,
        device=facts.device.kind,
        margin_s=encoder_margin_s(settings, on_gpu=facts.device.kind == "cuda"),
        chunk_length_s=settings.chunk_length_s,
        block_length_s=settings.block_length_s,
    )
