"""`asr-service listen`: text while it is spoken."""
