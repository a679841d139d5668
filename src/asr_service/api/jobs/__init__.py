"""/jobs: transcriptions that continue without the client's connection."""
