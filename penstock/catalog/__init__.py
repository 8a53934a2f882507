"""Data sets by name and version: a `Catalog` of `Source`s, kept in YAML files, and what plugins add to it."""

from penstock.catalog.catalog import Catalog
from penstock.catalog.entry import CatalogSource
from penstock.catalog.plugins import list_driver_names, register_driver, register_source
from penstock.catalog.source import CatalogKey, Source, UnknownEntry

__all__ = [
    "Catalog",
    "CatalogKey",
    "CatalogSource",
    "Source",
    "UnknownEntry",
    "list_driver_names",
    "register_driver",
    "register_source",
]
