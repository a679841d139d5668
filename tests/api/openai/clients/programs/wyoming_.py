"""wyoming_openai, the bridge from Home Assistant, in its three modes: what it sends for one recording."""

import asyncio
import socket
import subprocess
import sys
import wave

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient

url, audio = sys.argv[1:]


async def transcribe(port: int, model: str) -> str:
    with wave.open(audio, "rb") as reader:
        rate, data = reader.getframerate(), reader.readframes(reader.getnframes())
    for _ in range(100):
        try:
            client = AsyncClient.from_uri(f"tcp://127.0.0.1:{port}")
            await client.connect()
            break
        except OSError:
            await asyncio.sleep(0.1)
    await client.write_event(Transcribe(name=model, language="en").event())
    await client.write_event(AudioStart(rate=rate, width=2, channels=1).event())
    await client.write_event(AudioChunk(rate=rate, width=2, channels=1, audio=data).event())
    await client.write_event(AudioStop().event())
    while event := await asyncio.wait_for(client.read_event(), 60):
        if Transcript.is_type(event.type):
            await client.disconnect()
            return Transcript.from_event(event).text
    return "nothing"


for backend, more in (
    ("OPENAI", []),
    ("SPEACHES", ["--stt-extra-body", '{"hotwords": "Kubernetes"}']),
    ("OPENAI", ["--stt-streaming-models", "gpt-4o-transcribe"]),
):
    model = "gpt-4o-transcribe" if "--stt-streaming-models" in more else "whisper-1"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bridge = subprocess.Popen([
        sys.executable, "-m", "wyoming_openai", "--uri", f"tcp://127.0.0.1:{port}", "--languages", "en",
        "--stt-openai-url", f"{url}/v1", "--stt-openai-key", "any", "--stt-backend", backend,
        "--stt-models", model, *more,
    ])  # fmt: skip
    try:
        print(asyncio.run(transcribe(port, model)))
    finally:
        bridge.terminate()
        bridge.wait()
