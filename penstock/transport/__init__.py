"""Objects between processes: shared memory for what is large, one socket a worker for the rest.

This layer knows bytes, slots and messages, and nothing of pipes.
"""
