"""Signed events for a caller's URL: the events, their signatures, the check of addresses, and one delivery."""
