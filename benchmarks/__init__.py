"""Paired benchmarks of penstock against its peers: ``python -m benchmarks`` (see README.md in this folder)."""
