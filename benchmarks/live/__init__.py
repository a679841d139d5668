"""Real recordings, played in real time by several live sessions at once."""
