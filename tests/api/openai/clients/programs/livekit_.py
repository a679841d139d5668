"""LiveKit's STT plugin for OpenAI, with its default model, and with whisper-1 and gpt-transcribe."""

import asyncio
import sys
import wave

from livekit import rtc
from livekit.agents.utils import http_context
from livekit.plugins import openai

url, audio = sys.argv[1:]


async def main() -> None:
    with wave.open(audio, "rb") as reader:
        rate, n_frames = reader.getframerate(), reader.getnframes()
        frame = rtc.AudioFrame(reader.readframes(n_frames), rate, 1, n_frames)
    async with http_context.open():
        for options in (
            {"use_realtime": False},
            {"model": "whisper-1", "detect_language": True},
            {"model": "gpt-transcribe", "use_realtime": False, "language": ["en", "fr"], "keywords": ["Kubernetes"]},
        ):
            stt = openai.STT(base_url=f"{url}/v1", api_key="any", **options)
            event = await stt.recognize(frame)
            print(event.alternatives[0].text)
            await stt.aclose()


asyncio.run(main())
