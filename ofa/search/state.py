"""A search on disk: one npz with everything that decides how it goes on."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ofa import files
from ofa.search import errors
from ofa.search.archive import Archive
from ofa.search.evolve import Generation
from ofa.search.exchange import Elite
from ofa.search.limits import Limit
from ofa.search.tangent import unknown
from ofa.search.worth import Worth

if TYPE_CHECKING:
    from ofa.search.run import Plan

SCHEMA = "search/4"
MAX_BYTES = 1024 * files.MEBIBYTE
# So many scored networks are scored again, to notice another predictor.
CHECKED = 16
TOLERANCE = 1e-4
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Where a search stands beside its archive."""

    generation: int
    round: int
    alive: Rows
    elite: Elite
    rng: np.random.Generator


def write(path: Path, archive: Archive, plan: Plan, held: Held, history: list[Generation]) -> None:
    """Write a search, whole or not at all."""
    scored = archive.all()
    about = {
        "asked": _asked(archive, plan),
        "generation": held.generation,
        "round": held.round,
        "rng": held.rng.bit_generator.state,
        "history": [asdict(generation) for generation in history],
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        about=np.frombuffer(files.canonical_json(about).encode(), dtype=np.uint8),
        genomes=scored.genomes,
        accuracy=scored.accuracy,
        values=scored.values,
        alive=held.alive,
        elite=held.elite.rows,
        visits=held.elite.visits,
        gains=held.elite.gains,
        price=held.elite.worth.price,
    )
    files.write_atomic(path, buffer.getvalue())


def read(path: Path, archive: Archive, plan: Plan) -> tuple[Held, list[Generation]]:
    """Fill an empty archive with what a file holds and return where that search stood.

    Raises FileInvalid for a file that is damaged, or of a search with other arguments or predictors.
    """
    arrays, about = _arrays(path)
    # First of all: the arrays of another search need not fit this one.
    for name, value in _asked(archive, plan).items():
        if about["asked"].get(name) != value:
            raise errors.state_of_another(path, name)
    try:
        held, history = _held(arrays, about, archive)
        archive.space.check(arrays["genomes"])
        if held.elite.gains.shape[1:] != unknown(archive, 0).shape[1:] or np.isinf(held.elite.gains).any():
            raise ValueError("the gains of its elite are not one number for each option of the space")
        if not all(arrays[name].dtype == np.float64 for name in ("accuracy", "values")):
            raise ValueError("its scores are not numbers")
    # A damaged file fails in any way.
    except Exception as fault:
        raise errors.state_broken(path, str(fault) or type(fault).__name__) from fault
    _restore(path, archive, arrays)
    if not len(held.alive):
        raise errors.state_broken(path, "nothing is alive in it")
    for rows in (held.alive, held.elite.rows):
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(archive)):
            raise errors.state_broken(path, "it names a subnet that it does not hold")
    return held, history


def _arrays(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays that a file holds, and what it says of them: ``asked`` among it."""
    data = files.read_capped(path, max_bytes=MAX_BYTES, what="search")
    try:
        arrays = files.npz_arrays(data, max_bytes=MAX_BYTES)
        about: dict[str, Any] = json.loads(arrays["about"].tobytes())
        return arrays, about | {"asked": dict(about["asked"])}
    # A damaged file fails in any way.
    except Exception as fault:
        raise errors.state_broken(path, str(fault) or type(fault).__name__) from fault


def _asked(archive: Archive, plan: Plan) -> dict[str, Any]:
    """Return what must be equal for a search to be the same."""
    return {
        "schema": SCHEMA,
        "space": archive.space.id,
        "resolutions": list(archive.space.resolutions),
        "limits": [_named(limit) for limit in archive.limits],
        "plan": asdict(plan) | {"seed": list(plan.seed)},
    }


def _named(limit: Limit) -> list[Any]:
    """Return what tells a limit from another."""
    return [limit.name, limit.at_most, limit.unit]


def _held(arrays: dict[str, Any], about: dict[str, Any], archive: Archive) -> tuple[Held, list[Generation]]:
    """Return where a search stood; raises whatever a damaged file makes it raise."""
    rng = np.random.default_rng()
    rng.bit_generator.state = about["rng"]
    if arrays["gains"].dtype != np.float32:
        raise ValueError("array 'gains' is not one of float32 numbers")
    for name in ("alive", "elite", "visits"):
        if arrays[name].dtype != np.int64 or arrays[name].ndim != 1:
            raise ValueError(f"array '{name}' is not one of whole numbers")
    if not len(arrays["elite"]) == len(arrays["visits"]) == len(arrays["gains"]):
        raise ValueError("the elite, its visits and its gains differ in length")
    price = arrays["price"]
    if (
        price.shape != (len(archive.limits),)
        or price.dtype != np.float64
        or not (np.isfinite(price) & (price >= 0)).all()
    ):
        raise ValueError("its prices are not one number for each limit")
    worth = Worth.of(archive, price)
    held = Held(
        generation=int(about["generation"]),
        round=int(about["round"]),
        alive=arrays["alive"],
        elite=Elite(rows=arrays["elite"], visits=arrays["visits"], gains=arrays["gains"], worth=worth),
        rng=rng,
    )
    return held, [Generation(**entry) for entry in about["history"]]


def _restore(path: Path, archive: Archive, arrays: dict[str, Any]) -> None:
    """Put what was scored into the archive, after scoring a few networks again."""
    genomes, accuracy, values = arrays["genomes"], arrays["accuracy"], arrays["values"]
    fits = accuracy.shape == (len(genomes),) and values.shape == (len(genomes), len(archive.limits))
    if not fits or not (np.isfinite(accuracy).all() and np.isfinite(values).all()):
        raise errors.state_broken(path, "its scores are not one finite number for each subnet")
    sample = slice(0, CHECKED)
    again = archive.predicted(genomes[sample])
    if not np.allclose(again[0], accuracy[sample], rtol=TOLERANCE) or not np.allclose(
        again[1], values[sample], rtol=TOLERANCE
    ):
        raise errors.state_of_another(path, "model of accuracy or of a limit")
    archive.restore(genomes, accuracy, values)
