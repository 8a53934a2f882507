"""Samples to bytes, and back. Nothing that is read is executed."""
