"""Simulate the scheduler and fleets of slots, in simulated time."""
