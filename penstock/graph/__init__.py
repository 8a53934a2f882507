"""The graph behind a pipe: walk it, find and replace pipes, fingerprint and draw it. All of it returns new graphs."""

from penstock.core.render import mermaid, text
from penstock.core.walk import describe, names, walk
from penstock.graph.fingerprint import differences, fingerprint
from penstock.graph.rewrite import find, remove, replace

__all__ = ["describe", "differences", "find", "fingerprint", "mermaid", "names", "remove", "replace", "text", "walk"]
