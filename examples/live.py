"""Transcribe speech while it is spoken, with OpenAI's Python SDK: python live.py SPEECH.wav.

The WAV file (mono, 16 bit) stands for a microphone: it is sent as fast as it was spoken. To make one:
ffmpeg -i TALK.mp3 -ac 1 -ar 24000 SPEECH.wav
"""

import asyncio
import base64
import os
import sys
import wave
from typing import Any

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

PIECE_S = 0.1
SILENCE_S = 1.0  # ends the last turn, as a pause does

client = AsyncOpenAI(
    base_url=os.environ.get("SERVICE", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("ASRSERVICE_API_KEY", "unused"),
)


async def send(connection: AsyncRealtimeConnection, recording: wave.Wave_read) -> None:
    n_frames = round(recording.getframerate() * PIECE_S)
    silence = bytes(2 * n_frames)
    pieces = list(iter(lambda: recording.readframes(n_frames), b"")) + [silence] * round(SILENCE_S / PIECE_S)
    for piece in pieces:
        await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        await asyncio.sleep(PIECE_S)
    await connection.input_audio_buffer.clear()  # its answer comes when all sound before it was heard


async def main(path: str) -> None:
    with wave.open(path) as recording:
        if (recording.getnchannels(), recording.getsampwidth()) != (1, 2):
            raise wave.Error("not mono, 16 bit")
        audio: Any = {"input": {"format": {"type": "audio/pcm", "rate": recording.getframerate()}}}
        async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            await connection.session.update(session={"type": "transcription", "audio": audio})
            sending = asyncio.create_task(send(connection, recording))
            n_open, is_heard = 0, False
            while n_open or not is_heard:
                event = await connection.recv()
                if event.type == "error":
                    sys.exit(event.error.message)
                if event.type == "input_audio_buffer.cleared":
                    is_heard = True
                if event.type == "input_audio_buffer.committed":
                    n_open += 1
                if event.type == "conversation.item.input_audio_transcription.delta":
                    print(event.delta, end="", flush=True)
                if event.type == "conversation.item.input_audio_transcription.completed":
                    print(f"\n> {event.transcript}")
                    n_open -= 1
                if event.type == "conversation.item.input_audio_transcription.failed":
                    sys.exit(event.error.message)
            await sending


if len(sys.argv) != 2:
    sys.exit(__doc__)
try:
    asyncio.run(main(sys.argv[1]))
except wave.Error:
    sys.exit(__doc__)
