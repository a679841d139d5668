"""The implementations of the stores of records and of files."""
