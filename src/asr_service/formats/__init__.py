"""A transcript as text that programs and people read."""
