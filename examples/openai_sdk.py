"""Transcribe a recording with OpenAI's Python SDK: python openai_sdk.py RECORDING."""

import os
import sys
from pathlib import Path

from openai import APIStatusError, OpenAI

if len(sys.argv) != 2:
    sys.exit(__doc__)
client = OpenAI(
    base_url=os.environ.get("SERVICE", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("ASRSERVICE_API_KEY", "unused"),
    timeout=600,
    max_retries=10,  # the SDK waits as long as the service's Retry-After says
)
recording = Path(sys.argv[1])

try:
    transcript = client.audio.transcriptions.create(
        file=recording,
        model="whisper-1",  # this name stands for the model that the service has loaded
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
except APIStatusError as error:
    sys.exit(error.message)
print(f"{transcript.language}, {transcript.duration:.1f} s: {transcript.text}")
for word in transcript.words or []:
    print(f"{word.start:7.2f} {word.end:7.2f} {word.word}")

for event in client.audio.transcriptions.create(file=recording, model="whisper-1", stream=True):
    if event.type == "transcript.text.delta":
        print(event.delta, end="", flush=True)
print()
