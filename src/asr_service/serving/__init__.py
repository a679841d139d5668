"""Processes: one worker a slot, kept up, drained, reloaded one by one."""
