"""A twin on disk: ``card.json`` to read, ``arrays.npz``, and ``trees.json`` where it has trees; never a pickle."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa import files
from ofa.errors import FileInvalid
from ofa.space.core import SearchSpace
from ofa.twins import boost, errors

Arrays = dict[str, NDArray[np.float64]]
Card = dict[str, Any]

MAX_BYTES = 64 * files.MEBIBYTE


class Stored(NamedTuple):
    """What a folder held: the card, the arrays, and the bytes of the trees or None."""

    card: Card
    arrays: Arrays
    trees: bytes | None


def genes_digest(space: SearchSpace) -> str:
    """Return a hash of the genes and their choices, so that a changed declaration is noticed."""
    genes = [[gene.name, [float(choice) for choice in gene.choices]] for gene in space.genes]
    return files.sha256_bytes(files.canonical_json(genes).encode())


def save(folder: Path, card: Card, arrays: Arrays, trees: bytes | None) -> None:
    """Write a twin; the card goes last and names the other files by hash, so a half-written twin is refused."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    contents = {"arrays.npz": buffer.getvalue()} | ({} if trees is None else {"trees.json": trees})
    named = {name: {"sha256": files.sha256_bytes(data), "bytes": len(data)} for name, data in contents.items()}
    if trees is None:
        (folder / "trees.json").unlink(missing_ok=True)
    for name, data in contents.items():
        files.write_atomic(folder / name, data)
    files.write_atomic(folder / "card.json", files.readable_json(card | {"files": named}))


def load(folder: Path, *, schema: str, space: SearchSpace | None) -> Stored:
    """Read a twin back; raise FileInvalid or SpaceMismatch, naming what is wrong, before any of it is used."""
    folder = Path(folder)
    card = files.read_json(folder / "card.json", max_bytes=MAX_BYTES, what="twin card")
    if not isinstance(card, dict) or card.get("schema") != schema:
        found = card.get("schema") if isinstance(card, dict) else type(card).__name__
        raise errors.broken(folder, f"its card says '{found}'; this version reads '{schema}'")
    if space is not None and card.get("space") != space.id:
        raise errors.other_space(folder, str(card.get("space")), space.id)
    if space is not None and card.get("genes_sha256") != genes_digest(space):
        raise errors.other_space(folder, f"another declaration of {space.id}", space.id)
    named = card.get("files")
    if not isinstance(named, dict) or "arrays.npz" not in named or set(named) - {"arrays.npz", "trees.json"}:
        raise errors.broken(folder, "its card does not name its files")
    contents = {name: _checked(folder, name, fact) for name, fact in named.items()}
    return Stored(card, _arrays(folder, contents["arrays.npz"]), contents.get("trees.json"))


def _checked(folder: Path, name: str, fact: Any) -> bytes:
    """Read one file of a twin and compare it with what the card says."""
    data = files.read_capped(folder / name, max_bytes=MAX_BYTES, what="twin file")
    if not isinstance(fact, dict) or fact.get("sha256") != files.sha256_bytes(data):
        raise errors.broken(folder, f"'{name}' is not the file its card names; it may have been cut short or changed")
    return data


def _arrays(folder: Path, data: bytes) -> Arrays:
    """Unpack arrays without pickle; refuse anything but finite float64."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            unpacked_bytes = sum(part.file_size for part in archive.zip.infolist())
            if unpacked_bytes > MAX_BYTES:
                raise ValueError(f"it unpacks to {unpacked_bytes:,} bytes; at most {MAX_BYTES:,} are read")
            arrays = {name: archive[name] for name in archive.files}
    # A damaged file fails in any way: BadZipFile, zlib.error, MemoryError where a header claims too much.
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


def space_of(folder: Path, card_space: SearchSpace | None) -> SearchSpace:
    """Return the space a twin is loaded for: the one given, or the one its card names."""
    if card_space is not None:
        return card_space
    import ofa.space as spaces

    card = files.read_json(Path(folder) / "card.json", max_bytes=MAX_BYTES, what="twin card")
    name = card.get("space") if isinstance(card, dict) else None
    if not isinstance(name, str):
        raise errors.broken(Path(folder), "its card names no search space")
    try:
        return spaces.by_id(name)
    except FileInvalid as fault:
        raise errors.broken(Path(folder), f"its card names the search space '{name}', which is not known") from fault


def numbers(stored: Stored, folder: Path, section: str, names: tuple[str, ...]) -> dict[str, float]:
    """Return finite numbers of one section of a card, by name."""
    facts = stored.card.get(section)
    found: dict[str, float] = {}
    for name in names:
        value = facts.get(name) if isinstance(facts, dict) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
            raise errors.broken(folder, f"section '{section}' of its card lacks the number '{name}'")
        found[name] = float(value)
    return found


def trees(stored: Stored, folder: Path, columns: int) -> xgboost.Booster | None:
    """Return the trees of a stored twin, or None where it has none."""
    if stored.trees is None:
        return None
    return boost.from_bytes(stored.trees, columns=columns, what=f"'{folder / 'trees.json'}'")
