"""The queue of model calls: admission, batch forming and the threads that run batches."""
