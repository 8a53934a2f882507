"""Pipes, streams, and what both stand on: context, seeds, registry, errors. Imports nothing else of penstock."""
