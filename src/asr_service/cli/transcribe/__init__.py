"""`asr-service transcribe`."""
