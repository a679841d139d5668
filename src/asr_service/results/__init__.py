"""Transcripts by the content of their recordings, and answers by Idempotency-Key, in a store that slots share."""
