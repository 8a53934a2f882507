"""Penstock inside other libraries. Each module needs its library, and nothing else of penstock imports it."""
