"""Measure batch sizes and thread counts on a device, and choose among them."""
