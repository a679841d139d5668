"""Scripts for the development of this project."""
