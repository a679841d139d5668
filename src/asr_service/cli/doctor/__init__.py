"""`asr-service doctor`."""
