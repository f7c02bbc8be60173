"""The front that a demo chose from, made again from its twins, labels and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.archive import errors
from ofa import files

if TYPE_CHECKING:
    from ofa.space.core import Genomes, SearchSpace

FRONT, ACCURACY, TWIN = "front.json", "twins/accuracy", "twin"
MAX_BYTES = 64 * files.MEBIBYTE
Count = Annotated[int, Field(ge=1, le=100_000)]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class Asked(BaseModel):
    """What a demo asked of its searches."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    shares: Annotated[tuple[Share, ...], Field(min_length=1, max_length=100, strict=False)]
    coverage: Share
    population: Count
    generations: Count
    seed: Annotated[int, Field(ge=0)]
    images: Annotated[tuple[Count, ...], Field(max_length=10, strict=False)] = ()


def asked(run: Path, runtime: str) -> Asked | None:
    """Return what was asked for the front of one runtime, None where its file does not say; raises FileInvalid."""
    path = run / runtime / FRONT
    content = files.read_json(path, max_bytes=MAX_BYTES, what="front")
    if not isinstance(content, dict) or "request" not in content:
        return None
    try:
        return Asked.model_validate(content["request"])
    except ValidationError as fault:
        raise errors.broken(path, f"its request is none: {fault.errors()[0]['msg']}") from fault


def again(run: Path, runtime: str) -> bytes:
    """Choose once more, and return the bytes of the front; nothing is written.

    Raises FileInvalid where a file is damaged or lacking, NoSubnetFits.
    """
    from harness.choose import Twins, choose
    from ofa.twins import accuracy, latency, store

    how = asked(run, runtime)
    if how is None:
        raise errors.broken(run / runtime / FRONT, "it does not say what was asked")
    space = store.named_space(run / ACCURACY)
    twins = Twins(
        accuracy=accuracy.load(run / ACCURACY, space),
        latency=latency.load(run / runtime / TWIN, space),
        coverage=how.coverage,
        seen=_seen(run, space),
        images=how.images,
    )
    _, front = choose(
        twins,
        runtime,  # type: ignore[arg-type]  # a folder's name; it is only told
        shares=how.shares,
        seed=how.seed,
        population=how.population,
        generations=how.generations,
        on_pick=lambda pick: None,
    )
    cards = (run / ACCURACY / "card.json", run / runtime / TWIN / "card.json")
    parents: dict[str, Any] = {"parents": [files.parent(card, relative_to=run) for card in cards]}
    return files.readable_json(front | parents).encode()


def _seen(run: Path, space: SearchSpace) -> Genomes:
    """Return the genomes that some twin was fitted to, and those held out from it; not what was added afterwards."""
    from harness import closing
    from harness.learn import LABELS
    from ofa.lut.format import HEADER, read
    from ofa.train import labelled

    tables = [read(path.parent) for path in sorted(run.glob(f"*/lut/{HEADER}"))]
    return np.concatenate(
        [
            labelled.read(run / LABELS, space)[0],
            *(closing.networks(space, table, split)[0] for table in tables for split in ("fit", "holdout")),
        ]
    )
