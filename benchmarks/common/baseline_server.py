"""What the service is measured against: faster-whisper behind FastAPI, as most people deploy it.

    python -m benchmarks.common.baseline_server --model FOLDER --mode batched --port 9000

One process holds one model. The endpoint is a plain `def`, so Starlette runs it in its thread pool and several requests
are in `transcribe` at once; CTranslate2 queues their calls. README.md says why this is a fair opponent.
"""

import argparse
from collections.abc import Callable, Iterable
from typing import Annotated, Any, BinaryIO

import uvicorn
from fastapi import FastAPI, Form, UploadFile
from faster_whisper import BatchedInferencePipeline, WhisperModel

Transcribe = Callable[[BinaryIO, str | None], dict[str, Any]]

_OPTIONS: dict[str, Any] = {
    "beam_size": 5,
    "vad_filter": True,
    "vad_parameters": {"min_silence_duration_ms": 500},
}


def create_app(transcribe: Transcribe) -> FastAPI:
    """Serve `transcribe` at POST /transcribe, and say at GET /health that it is loaded."""
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/transcribe")
    def answer(file: UploadFile, language: Annotated[str | None, Form()] = None) -> dict[str, Any]:
        return transcribe(file.file, language)

    return app


def sequential(model: WhisperModel) -> Transcribe:
    """Window after window, with timestamps, conditioned on what came before: `WhisperModel.transcribe`."""

    def transcribe(file: BinaryIO, language: str | None) -> dict[str, Any]:
        segments, info = model.transcribe(file, language=language, **_OPTIONS)
        return _answer(segments, info.language)

    return transcribe


def batched(model: WhisperModel, batch_size: int) -> Transcribe:
    """The windows of one file side by side: `BatchedInferencePipeline.transcribe`."""
    pipeline = BatchedInferencePipeline(model=model)

    def transcribe(file: BinaryIO, language: str | None) -> dict[str, Any]:
        segments, info = pipeline.transcribe(file, language=language, batch_size=batch_size, **_OPTIONS)
        return _answer(segments, info.language)

    return transcribe


def _answer(segments: Iterable[Any], language: str) -> dict[str, Any]:
    rows = [{"start": segment.start, "end": segment.end, "text": segment.text} for segment in segments]
    return {"text": "".join(row["text"] for row in rows).strip(), "language": language, "segments": rows}


def main() -> None:
    args = _arguments()
    model = WhisperModel(args.model, device=args.device, compute_type=args.compute_type)
    transcribe = sequential(model) if args.mode == "sequential" else batched(model, args.batch_size)
    uvicorn.run(create_app(transcribe), host="127.0.0.1", port=args.port, log_level="warning")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder in CTranslate2's form, or a name")
    parser.add_argument("--mode", choices=("sequential", "batched"), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--batch-size", type=int, default=8)
    return parser.parse_args()


if __name__ == "__main__":
    main()
