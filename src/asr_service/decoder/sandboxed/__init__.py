"""The code that runs in the decoder processes: the fork server and its sandboxed children."""
