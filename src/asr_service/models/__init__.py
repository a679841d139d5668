"""Speech models: the registry, the files on disk and the model hub."""
