"""Decoding of one window: attempts, segments and words."""
