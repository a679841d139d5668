"""What the benchmark programs share. The other packages import this one and not each other."""
