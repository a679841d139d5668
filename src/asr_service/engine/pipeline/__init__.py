"""One request: a recording in, segments and a transcript out."""
