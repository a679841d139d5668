"""Memory of the service: growth under a long load, and the peak for a long file."""
