"""Records what the clients of live speech send: `python -m api.openai.clients.record_live [NAME...]` in tests/.

Each program runs against the real application behind a server that keeps every byte before it forwards it. The
recordings are replayed by test_live_clients.py, where no client program is installed.
"""

import json
import socket
import ssl
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from api.live import serving
from api.openai.clients.live_programs import LIVE_PROGRAMS, TLS_ONLY, write_speech
from api.openai.clients.programs import RECORDED
from nginx.proxy import Certificate


class SocketRecorder:
    """A server that forwards one connection to another port on this machine, and keeps what its client sends."""

    def __init__(self, port: int, certificate: Certificate | None) -> None:
        self.sent = b""
        self._port = port
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.chain, certificate.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"localhost:{self._listener.getsockname()[1]}"
        self.url = f"{'http' if certificate is None else 'https'}://{self.host}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        if self._context is not None:
            client = self._context.wrap_socket(client, server_side=True)
        service = socket.create_connection(("127.0.0.1", self._port))
        threading.Thread(target=_copy, args=[service, client], daemon=True).start()
        while part := client.recv(65_536):
            self.sent += part
            service.sendall(part)
        service.close()

    def recording(self) -> dict[str, object]:
        """Return the head of the request and the text of every message. The masks of frames are random."""
        head = self.sent.partition(b"\r\n\r\n")[0].decode("latin-1")
        protocol = ServerProtocol(max_size=None)
        protocol.receive_data(self.sent)
        frames = [event for event in protocol.events_received() if isinstance(event, Frame)]
        messages = [bytes(frame.data).decode() for frame in frames if frame.opcode is Opcode.TEXT]
        return {"head": head.replace(self.host, "asr.example.com"), "messages": messages}


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while part := source.recv(65_536):
            target.sendall(part)
    except OSError:
        pass  # the client has left


def main(*names: str) -> None:
    """Record the programs of these names, by default all."""
    with TemporaryDirectory() as folder, serving() as live:
        audio = write_speech(Path(folder) / "speech.wav")
        certificate = Certificate(Path(folder) / "tls")
        for program in LIVE_PROGRAMS:
            if names and program.name not in names:
                continue
            recorder = SocketRecorder(live.port, certificate if program.name == TLS_ONLY else None)
            trust = {"NODE_EXTRA_CA_CERTS": str(certificate.authority)}
            print(program.name, program.run(recorder.url, audio, **trust))  # noqa: T201
            recording = {"program": program.versions(), **recorder.recording()}
            (RECORDED / f"{program.name}.json").write_text(json.dumps(recording, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
