"""OpenAI's Python SDK against this service: python openai_sdk.py RECORDING."""

import os
import sys
from pathlib import Path

from openai import APIStatusError, OpenAI

client = OpenAI(
    base_url=os.environ.get("SERVICE", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("ASRSERVICE_API_KEY", "none is needed"),
    timeout=600,
    max_retries=10,  # the SDK keeps to the service's Retry-After
)
recording = Path(sys.argv[1])

try:
    answer = client.audio.transcriptions.create(
        file=recording,
        model="whisper-1",  # whichever model is loaded
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
except APIStatusError as error:
    sys.exit(error.message)
print(f"{answer.language}, {answer.duration:.1f} s: {answer.text}")
for word in answer.words or []:
    print(f"{word.start:7.2f} {word.end:7.2f} {word.word}")

for event in client.audio.transcriptions.create(file=recording, model="whisper-1", stream=True):
    if event.type == "transcript.text.delta":
        print(event.delta, end="", flush=True)
print()
