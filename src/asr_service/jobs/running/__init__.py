"""Runs claimed jobs: in a slot, or in a worker that sends them to the services."""
