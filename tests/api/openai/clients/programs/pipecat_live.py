"""Pipecat's OpenAIRealtimeSTTService with its default model: the pipeline detects the turn and commits it."""

import asyncio
import sys
import wave

from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService

url, audio = sys.argv[1:]


class Printer(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            print(frame.text)
            self.done.set()
        await self.push_frame(frame, direction)


async def main() -> None:
    with wave.open(audio, "rb") as reader:
        rate, sound = reader.getframerate(), reader.readframes(reader.getnframes())
    service = OpenAIRealtimeSTTService(api_key="any", base_url=f"{url.replace('http', 'ws')}/v1/realtime")
    printer = Printer()
    task = PipelineTask(Pipeline([service, printer]), params=PipelineParams(audio_in_sample_rate=rate))

    async def speak() -> None:
        while not service._session_ready:
            await asyncio.sleep(0.01)
        await task.queue_frame(VADUserStartedSpeakingFrame())
        for start in range(0, len(sound), rate // 10):
            await task.queue_frame(InputAudioRawFrame(sound[start : start + rate // 10], rate, 1))
        await task.queue_frame(VADUserStoppedSpeakingFrame())
        await printer.done.wait()
        await task.queue_frame(EndFrame())

    await asyncio.gather(PipelineRunner(handle_sigint=False).run(task), speak())


asyncio.run(main())
