"""Decoding of one untrusted recording with FFmpeg: its file in, samples and warnings out. Runs in a sandboxed child."""
