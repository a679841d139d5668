"""Groq's SDK, whose base URL has no path: it adds /openai/v1."""

import sys
from pathlib import Path

from groq import Groq

url, audio = sys.argv[1:]
client = Groq(base_url=url, api_key="any")
file = ("speech.wav", Path(audio).read_bytes())
print(client.audio.transcriptions.create(model="whisper-1", file=file).text)
print(client.audio.transcriptions.create(
    model="whisper-1", file=file, language="en", prompt="A test.", response_format="verbose_json", temperature=0,
    timestamp_granularities=["word", "segment"],
).text)  # fmt: skip
print(client.audio.translations.create(model="whisper-1", file=file).text)
