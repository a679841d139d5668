"""The tokens that decoding begins with, and how many may follow."""

from collections.abc import Hashable
from dataclasses import dataclass

from asr_service.engine.model.protocol import GenerateOptions
from asr_service.engine.options import MAX_LENGTH, DecodingOptions


@dataclass(frozen=True, slots=True)
class Prompt:
    tokens: tuple[int, ...]
    sot_index: int
    """Where `<|startoftranscript|>` stands."""

    @property
    def shape(self) -> Hashable:
        """Prompts of one shape may share a batch: https://github.com/OpenNMT/CTranslate2 takes no others."""
        return self.sot_index, len(self.tokens)


def generate_options(
    options: DecodingOptions,
    prompt: Prompt,
    temperature: float,
    suppressed: tuple[int, ...],
    repetition_penalty: float = 1.0,
) -> GenerateOptions:
    # See max_output_tokens.
    wanted = max(2 * options.max_new_tokens, len(prompt.tokens) + options.max_new_tokens)
    return GenerateOptions(
        beam_size=options.beam_size,
        temperature=temperature,
        max_length=min(MAX_LENGTH, wanted),
        suppress_tokens=suppressed,
        repetition_penalty=repetition_penalty,
    )


def max_output_tokens(options: GenerateOptions, prompt: Prompt) -> int:
    """CTranslate2 gives no more than half of max_length, and no more than the prompt leaves of it."""
    return min(options.max_length // 2, options.max_length - len(prompt.tokens))
