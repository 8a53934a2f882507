"""Small programs that write or check parts of the repository."""
