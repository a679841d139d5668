"""LiveKit's STT plugin for OpenAI over the Realtime API: the service detects the turn.

A third argument is how many seconds the microphone is muted first: then the plugin sends nothing.
"""

import asyncio
import sys
import wave

from livekit import rtc
from livekit.agents.stt import SpeechEventType
from livekit.agents.utils import http_context
from livekit.plugins import openai

url, audio, *muted_s = sys.argv[1:]


async def main() -> None:
    with wave.open(audio, "rb") as reader:
        rate, n_frames = reader.getframerate(), reader.getnframes()
        speech = rtc.AudioFrame(reader.readframes(n_frames), rate, 1, n_frames)
    silence = rtc.AudioFrame(bytes(2 * rate), rate, 1, rate)
    async with http_context.open():
        stt = openai.STT(base_url=f"{url}/v1", api_key="any", use_realtime=True)
        async with stt.stream() as stream:
            await asyncio.sleep(float(muted_s[0]) if muted_s else 0)
            stream.push_frame(speech)
            stream.push_frame(silence)
            async for event in stream:
                if event.type == SpeechEventType.FINAL_TRANSCRIPT:
                    print(event.alternatives[0].text)
                    break
        await stt.aclose()


asyncio.run(main())
