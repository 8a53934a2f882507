"""LoaderState: a DataLoader2 in a checkpoint of ``torch.distributed.checkpoint``.

DCP makes one flat table of what all ranks hand in: it keeps one value for each key, whichever rank's, and on loading it
reads only the keys that the new object names. So what all ranks have in common is one value, each lane is a value under
a key of its own, and a LoaderState that loads asks the checkpoint which lanes it has:

    loader.shared    what any rank could write: seed, epoch, batches delivered; with blocks that is all
    loader.lane0     written by the rank that has lane 0
    loader.lane1     by another one

Each value is a string of JSON, because DCP takes dicts apart and drops those that are empty.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from penstock.core.errors import StateError
from penstock.loader2.loader import DataLoader2

if TYPE_CHECKING:
    from torch.distributed.checkpoint.storage import StorageReader

__all__ = ["LoaderState"]

_SHARED, _LANE = "shared", "lane"


class LoaderState:
    """Put a DataLoader2 into the state dict that DCP saves, or load it from there on any number of ranks.

    Args:
        loader: the loader.
        checkpoint: on loading: the checkpoint's path, or a ``StorageReader`` of it. With blocks it may be left out.
        key: the loader's key in the state dict, under which ``checkpoint`` has it.

    Raises:
        StateError: (when loaded) the checkpoint has no loader under ``key``; or it has lanes and ``checkpoint`` was not
            given; or its ranks stood at different places when it was saved.

    Example:
        >>> import tempfile, torch.distributed as dist, torch.distributed.checkpoint as dcp
        >>> from penstock import DataLoader2, IterableWrapper
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> folder = tempfile.TemporaryDirectory()
        >>> loader = DataLoader2(IterableWrapper(range(6)).shuffle())
        >>> loader.seed(0)
        >>> it = iter(loader)
        >>> head = [next(it), next(it)]
        >>> _ = dcp.save({"loader": LoaderState(loader)}, checkpoint_id=folder.name)
        >>> again = DataLoader2(IterableWrapper(range(6)).shuffle())
        >>> dcp.load({"loader": LoaderState(again, folder.name)}, checkpoint_id=folder.name)
        >>> list(again) == list(it)
        True
        >>> folder.cleanup()
        >>> dist.destroy_process_group()
    """

    def __init__(
        self,
        loader: DataLoader2[Any],
        checkpoint: str | os.PathLike[str] | StorageReader | None = None,
        *,
        key: str = "loader",
    ) -> None:
        self._loader = loader
        self._checkpoint = checkpoint  # until it has been loaded; from then on there is something to save
        self._key = key

    def state_dict(self) -> dict[str, str]:
        """Return the values that DCP writes; or, until the checkpoint has been loaded, the keys that it shall read."""
        if self._checkpoint is not None:
            return dict.fromkeys(_keys(self._checkpoint, self._key), "")
        return {key: json.dumps(value) for key, value in _split(self._loader.state_dict()).items()}

    def load_state_dict(self, state_dict: dict[str, str]) -> None:
        """Let the loader continue from what DCP has read."""
        state = _joined({key: json.loads(value) for key, value in state_dict.items()})
        try:
            self._loader.load_state_dict(state)
        except StateError as error:
            if self._checkpoint is None:
                error.add_note("LoaderState(loader, checkpoint) reads the lanes of all ranks")
            raise
        self._checkpoint = None


def _split(state: dict[str, Any]) -> dict[str, Any]:
    """Return a loader's state as what all ranks share, and each lane's part. With blocks everything is shared."""
    progress = state["progress"]
    if progress is None or progress["kind"] == "blocks":
        return {_SHARED: state}
    by_lane = {name: value for name, value in progress.items() if isinstance(value, dict)}
    shared = {**state, "progress": {name: value if name not in by_lane else {} for name, value in progress.items()}}
    parts = {
        f"{_LANE}{lane}": {
            **_place(state),
            "lane": lane,
            "progress": {name: value[lane] for name, value in by_lane.items() if lane in value},
        }
        for lane in progress["given"]
    }
    return {_SHARED: shared, **parts}


def _joined(values: dict[str, Any]) -> dict[str, Any]:
    """Return the loader's state again, of all the lanes that there are."""
    state: dict[str, Any] = values.pop(_SHARED)
    for part in values.values():
        if any(part[name] != value for name, value in _place(state).items()):
            raise StateError(
                f"the checkpoint is of ranks that stood at different places: lane {part['lane']} at {_place(part)}, "
                f"another rank at {_place(state)}"
            )
        for name, value in part["progress"].items():
            state["progress"][name][part["lane"]] = value
    return state


def _place(state: dict[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in ("seed", "epoch", "delivered")}


def _keys(checkpoint: str | os.PathLike[str] | StorageReader, key: str) -> list[str]:
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.storage import StorageReader

    reader = checkpoint if isinstance(checkpoint, StorageReader) else FileSystemReader(checkpoint)
    prefix = f"{key}."
    names = [n.removeprefix(prefix) for n in reader.read_metadata().state_dict_metadata if n.startswith(prefix)]
    found = sorted(name for name in names if name == _SHARED or name.startswith(_LANE))
    if _SHARED not in found:
        raise StateError(f"the checkpoint has no state of a LoaderState under {key!r}")
    return found
