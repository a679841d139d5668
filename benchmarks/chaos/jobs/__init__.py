"""Jobs under injected faults."""
