"""The process of one side: answers each line on stdin with the number of one more round, until stdin ends."""

from __future__ import annotations

import importlib
import json
import os
import sys


def main(target: str, arguments: str) -> None:
    # Whatever a library prints must not land among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, function = target.partition(":")
    rounds = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    try:
        for _ in sys.stdin:
            print(json.dumps(next(rounds)), file=answers, flush=True)
    finally:
        rounds.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
