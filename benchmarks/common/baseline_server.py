"""The baseline: faster-whisper behind FastAPI, as most people deploy it.

    python -m benchmarks.common.baseline_server --model FOLDER --mode batched --port 9000

One process holds one model. The endpoint is a plain `def`, so Starlette runs it in its thread pool and several requests
are in `transcribe` at the same time. CTranslate2 queues their calls, unless `--workers` lets several run at once.
README.md explains why this comparison is fair.
"""

import argparse
from collections.abc import Callable, Iterable
from typing import Annotated, Any, BinaryIO

import uvicorn
from fastapi import FastAPI, Form, UploadFile
from faster_whisper import BatchedInferencePipeline, WhisperModel

from benchmarks.common import arguments

Transcribe = Callable[[BinaryIO, str | None], dict[str, Any]]

_OPTIONS: dict[str, Any] = {"beam_size": 5, "vad_filter": True}


def create_app(transcribe: Transcribe) -> FastAPI:
    """Create the application: POST /transcribe calls `transcribe`, GET /health reports that the model is loaded."""
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/transcribe")
    def post_transcribe(file: UploadFile, language: Annotated[str | None, Form()] = None) -> dict[str, Any]:
        return transcribe(file.file, language)

    return app


def sequential(model: WhisperModel) -> Transcribe:
    """Use `WhisperModel.transcribe`: window after window, with timestamps and the previous text as the prompt."""

    def transcribe(file: BinaryIO, language: str | None) -> dict[str, Any]:
        segments, info = model.transcribe(file, language=language, **_OPTIONS)
        return _body(segments, info.language)

    return transcribe


def batched(model: WhisperModel, batch_size: int) -> Transcribe:
    """Use `BatchedInferencePipeline.transcribe`: the windows of one file in batches."""
    pipeline = BatchedInferencePipeline(model=model)

    def transcribe(file: BinaryIO, language: str | None) -> dict[str, Any]:
        segments, info = pipeline.transcribe(file, language=language, batch_size=batch_size, **_OPTIONS)
        return _body(segments, info.language)

    return transcribe


def _body(segments: Iterable[Any], language: str) -> dict[str, Any]:
    rows = [{"start": segment.start, "end": segment.end, "text": segment.text} for segment in segments]
    return {"text": "".join(row["text"] for row in rows).strip(), "language": language, "segments": rows}


def main() -> None:
    args = _arguments()
    model = WhisperModel(
        args.model,
        device=args.device,
        compute_type=args.compute_type,
        num_workers=args.workers,
        cpu_threads=args.cpu_threads,
    )
    transcribe = sequential(model) if args.mode == "sequential" else batched(model, args.batch_size)
    uvicorn.run(create_app(transcribe), host="127.0.0.1", port=args.port, log_level="warning")


def _arguments() -> argparse.Namespace:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("--model", required=True, help="a folder in CTranslate2 format, or a name")
    parser.add_argument("--mode", choices=("sequential", "batched"), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1, help="calls of the model that run at the same time")
    parser.add_argument("--cpu-threads", type=int, default=0, help="threads of each call; 0 is CTranslate2's default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
