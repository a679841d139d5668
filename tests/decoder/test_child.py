"""What arrives on the channel of a decoder child."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from asr_service.decoder import protocol
from asr_service.decoder.child import ChildInterrupted, ChildLost, DecoderChild
from asr_service.decoder.protocol import MAX_PAYLOAD_BYTES, SAMPLES

FRAME = protocol.frame(SAMPLES, bytes(MAX_PAYLOAD_BYTES))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


async def received(process: subprocess.Popen[bytes], piece_bytes: int) -> tuple[bytes, bytes] | None:
    """Receive a frame that the child sends in pieces, each when the one before was taken."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    child = DecoderChild(process.pid, os.pidfd_open(process.pid), ours)

    async def send() -> None:
        for start in range(0, len(FRAME), piece_bytes):
            theirs.send(FRAME[start : start + piece_bytes])
            while child.n_received < min(start + piece_bytes, len(FRAME)):  # noqa: ASYNC110
                await asyncio.sleep(0)

    sending = asyncio.create_task(send())
    try:
        return await child.receive(asyncio.get_running_loop().time() + 10)
    finally:
        sending.cancel()
        child.kill()
        theirs.close()


async def test_a_frame_may_arrive_in_a_few_pieces(process):
    """The kernel splits what a child writes at once."""
    assert await received(process, len(FRAME) // 60) == (SAMPLES, bytes(MAX_PAYLOAD_BYTES))


async def test_a_child_that_sends_single_bytes_is_lost(process):
    """A child that was taken over cannot keep the event loop busy with them."""
    with pytest.raises(ChildLost, match="too many pieces"):
        await received(process, 1)


async def test_a_file_is_not_at_fault_if_the_end_of_its_child_is_not_known(process, monkeypatch):
    """On a busy machine the exit status may come late. The client may send the file again."""
    monkeypatch.setattr("asr_service.decoder.child._EXIT_STATUS_TIMEOUT_S", 0.01)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    child = DecoderChild(process.pid, os.pidfd_open(process.pid), ours)
    theirs.close()
    with pytest.raises(ChildInterrupted, match="not known why"):
        await child.receive(asyncio.get_running_loop().time() + 10)
    child.kill()
