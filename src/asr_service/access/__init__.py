"""API keys, their limits, and what each key has used."""
