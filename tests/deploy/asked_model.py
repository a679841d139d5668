"""A fake model that fails when a request asks for it."""

from collections.abc import Sequence

from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from fakes import FakeModel, sleeping, writing

DOUBTFUL_BEAM, POISONOUS_BEAM = 2, 3
"""Beam sizes that make the model return an unlikely text, and fail."""


def asked_model() -> FakeModel:
    return FakeModel(script=_script, before=sleeping(0.05))


def _script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
    if options.beam_size == POISONOUS_BEAM:
        raise ValueError("asked to fail")
    doubtful = options.beam_size == DOUBTFUL_BEAM and options.temperature == 0
    return writing(" hello", avg_logprob=-3.0 if doubtful else -0.2)(model, encoding, prompt, options)
