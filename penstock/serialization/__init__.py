"""Samples to bytes, and back. Nothing that is read is executed."""

from penstock.serialization.serializers import JsonSerializer, MessagepackSerializer, SquirrelSerializer

__all__ = ["JsonSerializer", "MessagepackSerializer", "SquirrelSerializer"]
