"""The service's side of the decoder processes: files in, samples out."""
