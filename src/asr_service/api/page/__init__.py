"""The page at /: its HTML, its files, and the handlers that serve them."""
