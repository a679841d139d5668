"""Jobs, compared with the same recordings as requests."""
