"""Pipecat's STT services for OpenAI and Groq, with their default models."""

import asyncio
import sys
from pathlib import Path

from pipecat.services.groq.stt import GroqSTTService
from pipecat.services.openai.stt import OpenAISTTService

url, audio = sys.argv[1:]


async def main() -> None:
    data = Path(audio).read_bytes()
    for service in (
        OpenAISTTService(api_key="any", base_url=f"{url}/v1"),
        OpenAISTTService(api_key="any", base_url=f"{url}/v1", settings=OpenAISTTService.Settings(model="whisper-1")),
        GroqSTTService(api_key="any", base_url=f"{url}/openai/v1", settings=GroqSTTService.Settings(model="whisper-1")),
    ):
        print((await service._transcribe(data)).text)


asyncio.run(main())
