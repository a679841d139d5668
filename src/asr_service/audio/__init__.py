"""Bytes in, speech out: decoding in a sandboxed child, voice activity, chunks, features."""

import os

# onnxruntime reports its use to its maker, and keeps a number for the device under $HOME, unless it is told not to
# before it is imported. Only this room imports it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
