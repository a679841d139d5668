"""The HTTP door, and the only room that knows the web framework."""
