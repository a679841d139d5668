"""What the bytes of a container say that FFmpeg does not: where it ends, and where another recording begins."""
