"""Bytes in, speech out: decoding in a sandboxed child, voice activity, chunks, features."""
