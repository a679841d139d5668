"""Records what the real client programs send, byte by byte: `python -m api.openai.clients.record [NAME...]` in tests/.

Each program runs against the real application behind a server that keeps every request before it forwards it. The
recordings are replayed by test_recorded_clients.py, where no client program is installed.
"""

import base64
import json
import socket
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from api.live import serving, tone
from api.openai.clients.programs import PROGRAMS, RECORDED

_END_OF_HEAD = b"\r\n\r\n"


class Recorder:
    """A server that forwards requests to another port on this machine, one a connection, and keeps them."""

    def __init__(self, port: int) -> None:
        self.requests: list[bytes] = []
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._forward, args=[client], daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as service:
            request = _read_request(client)
            if not request:
                return
            self.requests.append(request)
            head, _, body = request.partition(_END_OF_HEAD)
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            service.sendall(b"\r\n".join([*lines, b"Connection: close"]) + _END_OF_HEAD + body)
            while part := service.recv(65536):
                client.sendall(part)


def _read_request(client: socket.socket) -> bytes:
    data = b""
    while _END_OF_HEAD not in data or not _is_complete(data):
        part = client.recv(65536)
        if not part:
            return b""
        data += part
    return data


def _is_complete(data: bytes) -> bool:
    head, _, body = data.partition(_END_OF_HEAD)
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if headers.get(b"transfer-encoding") == b"chunked":
        return body.endswith(b"\r\n0\r\n\r\n")
    return len(body) >= int(headers.get(b"content-length", 0))


def main(*names: str) -> None:
    """Record the programs of these names, by default all."""
    with TemporaryDirectory() as folder, serving(vad_filter=False) as live:
        audio = Path(folder) / "speech.wav"
        audio.write_bytes(tone(0.2, rate=8000))
        for program in PROGRAMS:
            if names and program.name not in names:
                continue
            recorder = Recorder(live.port)
            print(program.name, program.run(recorder.url, audio))  # noqa: T201
            requests = [request.partition(_END_OF_HEAD) for request in recorder.requests]
            recording = {
                "program": program.versions(),
                "requests": [
                    {
                        "head": head.decode("latin-1").replace(recorder.url.removeprefix("http://"), "asr.example.com"),
                        "body": base64.b64encode(body).decode(),
                    }
                    for head, _, body in requests
                ],
            }
            RECORDED.mkdir(exist_ok=True)
            (RECORDED / f"{program.name}.json").write_text(json.dumps(recording, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
