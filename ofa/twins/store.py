"""A twin on disk: ``card.json`` to read, ``arrays.npz``, and a file for each booster of trees; never a pickle."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa import files
from ofa.errors import FileInvalid
from ofa.space.core import SearchSpace
from ofa.twins import boost, errors
from ofa.twins.genes import Space, genes_digest

Arrays = dict[str, NDArray[np.float64]]
Card = dict[str, Any]

MAX_BYTES = 64 * files.MEBIBYTE
MOST_TREE_FILES = 16
_TREES = re.compile(r"trees-([1-9]\d?)\.json")


class Stored(NamedTuple):
    """What a folder held: the card, the arrays, and the bytes of each file of trees."""

    card: Card
    arrays: Arrays
    trees: tuple[bytes, ...]


def save(folder: Path, card: Card, arrays: Arrays, trees: Sequence[bytes]) -> None:
    """Write a twin; the card goes last and names the other files by hash, so a half-written twin is refused."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    contents = {"arrays.npz": buffer.getvalue()}
    contents |= {f"trees-{number}.json": data for number, data in enumerate(trees, 1)}
    named = {name: {"sha256": files.sha256_bytes(data), "bytes": len(data)} for name, data in contents.items()}
    for path in folder.glob("trees-*.json"):
        if _TREES.fullmatch(path.name) and path.name not in contents:
            path.unlink(missing_ok=True)
    for name, data in contents.items():
        files.write_atomic(folder / name, data)
    files.write_atomic(folder / "card.json", files.readable_json(card | {"files": named}))


def load(folder: Path, *, schema: str, space: Space) -> Stored:
    """Read a twin back; raise FileInvalid or SpaceMismatch, naming what is wrong, before any of it is used."""
    folder = Path(folder)
    card = files.read_json(folder / "card.json", max_bytes=MAX_BYTES, what="twin card")
    if not isinstance(card, dict) or card.get("schema") != schema:
        found = card.get("schema") if isinstance(card, dict) else type(card).__name__
        raise errors.broken(folder, f"its card says '{found}'; this version reads '{schema}'")
    if card.get("space") != space.id:
        raise errors.other_space(folder, str(card.get("space")), space.id)
    if card.get("genes_sha256") != genes_digest(space):
        raise errors.other_space(folder, f"another declaration of {space.id}", space.id)
    named = card.get("files")
    count = len(named) - 1 if isinstance(named, dict) else -1
    expected = ["arrays.npz", *(f"trees-{number}.json" for number in range(1, count + 1))]
    if not isinstance(named, dict) or count > MOST_TREE_FILES or set(named) != set(expected):
        raise errors.broken(folder, "its card does not name its files")
    contents = [_checked(folder, name, named[name]) for name in expected]
    return Stored(card, _arrays(folder, contents[0]), tuple(contents[1:]))


def _checked(folder: Path, name: str, fact: Any) -> bytes:
    """Read one file of a twin and compare it with what the card says."""
    data = files.read_capped(folder / name, max_bytes=MAX_BYTES, what="twin file")
    if not isinstance(fact, dict) or fact.get("sha256") != files.sha256_bytes(data):
        raise errors.broken(folder, f"'{name}' is not the file its card names; it may have been cut short or changed")
    return data


def _arrays(folder: Path, data: bytes) -> Arrays:
    """Unpack arrays without pickle; refuse anything but finite float64."""
    try:
        arrays = files.npz_arrays(data, max_bytes=MAX_BYTES)
    # A damaged file fails in any way.
    except Exception as fault:
        raise errors.broken(folder, f"'arrays.npz' cannot be read: {fault}") from fault
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.float64 or not np.isfinite(array).all():
            raise errors.broken(folder, f"array '{name}' holds values that are not finite numbers")
    return arrays


def array(stored: Stored, folder: Path, name: str, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """Return one array of a stored twin after checking its shape (None: any length)."""
    found = stored.arrays.get(name)
    if (
        found is None
        or found.ndim != len(shape)
        or any(want is not None and want != have for want, have in zip(shape, found.shape, strict=True))
    ):
        raise errors.broken(folder, f"array '{name}' is absent or has the wrong shape")
    return found


def named_space(folder: Path) -> SearchSpace:
    """Return the space that the card of a twin names; raise FileInvalid where it is none of ours."""
    import ofa.space as spaces

    card = files.read_json(Path(folder) / "card.json", max_bytes=MAX_BYTES, what="twin card")
    name = card.get("space") if isinstance(card, dict) else None
    if not isinstance(name, str):
        raise errors.broken(Path(folder), "its card names no search space")
    try:
        return spaces.by_id(name)
    except FileInvalid as fault:
        raise errors.broken(Path(folder), f"its card names the search space '{name}', which is not known") from fault


def trees(stored: Stored, folder: Path, columns: int) -> tuple[xgboost.Booster, ...]:
    """Return the trees of a stored twin, file by file, after checking that they read ``columns`` features."""
    return tuple(
        boost.from_bytes(data, columns=columns, what=f"'{folder / f'trees-{number}.json'}'")
        for number, data in enumerate(stored.trees, 1)
    )
