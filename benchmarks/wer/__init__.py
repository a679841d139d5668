"""Word error rates of the service, compared with faster-whisper."""
