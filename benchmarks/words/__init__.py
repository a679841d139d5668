"""Accuracy and cost of word times."""
