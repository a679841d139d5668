"""The scheduler and fleets of slots in simulated time."""
