"""Decoding of untrusted media files in sandboxed processes: files in, samples out."""
