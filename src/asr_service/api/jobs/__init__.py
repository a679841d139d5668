"""/jobs: transcriptions that outlive the connection."""
