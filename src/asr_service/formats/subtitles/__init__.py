"""Subtitles: cue layout, SubRip and WebVTT."""
