"""LiteLLM: OpenAI's provider at another address, with the names that its users write."""

import sys
from pathlib import Path

import litellm

url, audio = sys.argv[1:]
for fields in (
    {"model": "openai/whisper-1"},
    {"model": "openai/gpt-4o-transcribe", "language": "en", "prompt": "A test."},
    {"model": "openai/whisper-1", "response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]},
):
    with Path(audio).open("rb") as file:
        answer = litellm.transcription(file=file, api_base=f"{url}/v1", api_key="any", **fields)
    print(answer.text)
