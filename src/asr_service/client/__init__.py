"""An HTTP client of this service."""
