"""What Hugging Face's features say of a column that its Arrow type does not: images, and arrays of one shape."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from penstock.core.errors import DecodeError, MissingExtra
from penstock.files.remote import opened
from penstock.serialization._arrow_dense import Dense, dense, is_null, kind, plain
from penstock.serialization._arrow_nulls import Column, of_type, settled_rows

__all__ = ["features", "fixed_arrays", "image_feature", "images"]


@lru_cache(64)
def features(said: bytes | None) -> Mapping[str, Any]:
    """Return the features by column that are in the value of a schema's metadata key ``huggingface``."""
    try:
        found = json.loads(said or b"{}")
    except ValueError as error:
        raise DecodeError(f"the schema's metadata 'huggingface' is not JSON: {error}") from None
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def image_feature(column: Column) -> bool:
    """Whether a column has encoded images."""
    return isinstance(column.feature, Mapping) and column.feature.get("_type") == "Image"


def images(array: Any, column: Column) -> tuple[list[Any], np.ndarray[Any, Any] | None]:
    """Return encoded images as arrays of (height, width, channels), or as the bytes that they are."""
    paths: list[Any] = [None] * len(array)
    if kind(array.type) == "STRUCT":
        parts = {field.name: part for field, part in zip(array.type, array.flatten(), strict=True)}
        array = parts["bytes"]
        if "path" in parts:
            paths = parts["path"].to_numpy(zero_copy_only=False).tolist()
    rows = array.to_numpy(zero_copy_only=False).tolist()
    for index, (data, path) in enumerate(zip(rows, paths, strict=True)):
        if data is not None or path is not None:
            rows[index] = _image(data, path, column, index)
    nulls = np.array([row is None for row in rows], bool)  # neither bytes nor a path
    if not column.decode_images:
        return settled_rows(rows, nulls, column, bytes, of_type(bytes, column))

    def fit(fill: Any) -> Any:
        return _finished(np.array(fill, np.uint8), column)

    return settled_rows(rows, nulls, column, lambda: _finished(np.zeros((0, 0, 3), np.uint8), column), fit)


def _image(data: bytes | None, path: str | None, column: Column, index: int) -> Any:
    try:
        if data is None:
            with opened(str(path), "rb", {}, {}) as file:
                data = file.read()
        if not column.decode_images:
            return data
        return _finished(_decoded(data, column), column)
    except MissingExtra:
        raise
    except Exception as error:  # a decoder may raise anything on bad bytes
        where = f" ({path})" if path else ""
        raise DecodeError(
            f"column {column.name!r}: the image in row {column.row(index)} of the batch{where} cannot be read: {error}"
        ) from error


def _decoded(data: bytes, column: Column) -> np.ndarray[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise MissingExtra(
            f"column {column.name!r} has images, and decoding them needs Pillow: pip install 'penstock[images]'; "
            "images='encoded' leaves them as bytes"
        ) from None
    with Image.open(io.BytesIO(data)) as encoded:
        return _pixels(ImageOps.exif_transpose(encoded), column.feature.get("mode"))  # upright, as datasets has it


def _finished(pixels: np.ndarray[Any, Any], column: Column) -> Any:
    if not column.torch:
        return pixels
    import torch

    return torch.from_numpy(pixels)


def _pixels(image: Any, mode: str | None) -> np.ndarray[Any, Any]:
    """Return an image as (height, width, channels), of bytes unless its pixels are more than bytes."""
    if mode is None:
        if image.mode in ("P", "PA"):
            mode = "RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB"
        elif image.mode in ("1", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"):
            mode = {"1": "L", "RGBa": "RGBA", "La": "LA"}.get(image.mode, "RGB")
    if mode is not None and mode != image.mode:
        image = image.convert(mode)
    pixels = np.array(image)  # a copy, which may be written to
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def fixed_arrays(array: Any, column: Column) -> Dense | None:
    """Return the arrays of a feature such as Array2D, stored as lists of lists, in their one shape; else None."""
    feature = column.feature
    if not isinstance(feature, Mapping) or feature.get("_type") not in ("Array2D", "Array3D", "Array4D", "Array5D"):
        return None
    import pyarrow.compute as pc

    shape: tuple[Any, ...] = tuple(feature.get("shape") or (None,))
    array = plain(array)
    if None in shape or kind(array.type) not in ("LIST", "LARGE_LIST"):
        return None
    missing = is_null(array)
    rows = len(array) - int(missing.sum())
    flat = array
    for size in shape:
        if flat is not array and flat.null_count:
            return None
        lengths = pc.list_value_length(flat).drop_null().to_numpy()
        if (lengths != size).any():
            raise DecodeError(
                f"column {column.name!r}: its arrays are not all of the shape {shape} that its feature says"
            )
        flat = flat.flatten()
    found = dense(flat, {})
    if found is None:
        return None
    if found.nulls is None and not missing.any():
        return Dense(found.values.reshape(-1, *shape), axes=1 + len(shape))
    values = np.zeros((len(array), *shape), found.values.dtype)
    nulls = np.zeros(values.shape, bool)
    values[~missing] = found.values.reshape(rows, *shape)
    nulls[missing] = True
    if found.nulls is not None:
        nulls[~missing] = found.nulls.reshape(rows, *shape)
    return Dense(values, nulls, axes=values.ndim)
