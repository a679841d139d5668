"""What the bytes of a container say that FFmpeg does not: where it ends, is damaged, or another recording begins."""
