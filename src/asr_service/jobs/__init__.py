"""Jobs: transcriptions that survive a lost connection, a crash and a power failure (docs/adr/0007)."""
