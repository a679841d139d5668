"""Devices, GPU state and native libraries."""
