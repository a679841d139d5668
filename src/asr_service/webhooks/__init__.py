"""Signed notices to a caller's URL: the events, their signatures, the check of addresses, and one delivery."""
