"""`asr-service tune`: measure this device, and write the settings that are faster than the defaults."""
