"""The model and the service on an NVIDIA GPU."""
