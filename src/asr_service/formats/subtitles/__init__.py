"""Subtitles in SubRip and WebVTT, and the layout of their cues."""
