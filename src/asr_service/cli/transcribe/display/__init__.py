"""What the terminal shows: progress, results and a summary."""
