"""Live speech: samples in as they are spoken, turns with their text out."""
