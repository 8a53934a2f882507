"""Files at any URL that fsspec knows, and writing one so that nobody ever sees half of it."""
