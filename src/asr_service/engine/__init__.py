"""From waveform blocks to a transcript: admission, the queue, the model."""
