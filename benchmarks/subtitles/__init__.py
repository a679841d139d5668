"""Readability of the service's subtitles, compared with faster-whisper's segments."""
