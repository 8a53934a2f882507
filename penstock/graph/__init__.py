"""The graph behind a pipe: walk it, find and replace pipes, check, fingerprint and draw it.

`find`, `replace` and `remove` return new graphs. The functions with torchdata's names take and return what
`traverse_dps` returns, and change pipes in place.
"""

from penstock.core.render import mermaid, text
from penstock.core.seed_generator import SeedGenerator
from penstock.core.walk import describe, names, walk
from penstock.graph.dispatch import (
    find_lca_non_replicable_dp,
    find_lca_round_robin_sharding_dp,
    find_non_dispatching_branches,
    find_replicable_branches,
)
from penstock.graph.draw import to_graph
from penstock.graph.fingerprint import differences, fingerprint
from penstock.graph.inplace import remove_dp, replace_dp
from penstock.graph.lint import Finding, lint
from penstock.graph.rewrite import find, remove, replace
from penstock.graph.settings import (
    apply_random_seed,
    apply_sharding,
    apply_shuffle_settings,
    set_datapipes_seed,
    set_graph_random_seed,
)
from penstock.graph.traverse import DataPipe, DataPipeGraph, find_dps, get_all_graph_pipes, list_dps, traverse_dps

__all__ = [
    "DataPipe",
    "DataPipeGraph",
    "Finding",
    "SeedGenerator",
    "apply_random_seed",
    "apply_sharding",
    "apply_shuffle_settings",
    "describe",
    "differences",
    "find",
    "find_dps",
    "find_lca_non_replicable_dp",
    "find_lca_round_robin_sharding_dp",
    "find_non_dispatching_branches",
    "find_replicable_branches",
    "fingerprint",
    "get_all_graph_pipes",
    "lint",
    "list_dps",
    "mermaid",
    "names",
    "remove",
    "remove_dp",
    "replace",
    "replace_dp",
    "set_datapipes_seed",
    "set_graph_random_seed",
    "text",
    "to_graph",
    "traverse_dps",
    "walk",
]
