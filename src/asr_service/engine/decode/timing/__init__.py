"""Times of segments and words in the recording."""
