"""A search as a run folder: `request.json`, copies of its inputs under `inputs`, and its answer, `front.json`.

The inputs are copied, so that the answer can be made again when tables and twins elsewhere have been replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ofa import files
from ofa.search import answer, asked, errors
from ofa.search.answer import Facts, How
from ofa.search.asked import Asked, AskedTarget, Parent
from ofa.search.devices import FOREIGN, parts_at, slug
from ofa.search.request import PUBLISHED, Request, Target, request
from ofa.space.core import SearchSpace

REQUEST, FRONT, INPUTS = "request.json", "front.json", "inputs"
SCHEMA = "front/1"
MOST_BYTES = 64 * files.MEBIBYTE
CARD = "card.json"


def keep(
    folder: Path, space: SearchSpace, spec: str, targets: Sequence[Target], limits: Mapping[str, float], how: How
) -> Asked:
    """Write what is asked of a search, and copies of its inputs, into a run folder; return it.

    ``spec`` and ``targets`` have been read before, ``limits`` are the further ones. Raises UsageInvalid, and writes
    nothing, where the folder holds the answer of another request; FileInvalid where an input cannot be read any more.
    """
    published = spec.startswith(PUBLISHED)
    place, contents = _predictor(Path(spec.removeprefix(PUBLISHED)), published=published)
    named = []
    for target in targets:
        parts = [part for path in target.paths for part in parts_at(path)]
        places = [
            _table(part, f"{INPUTS}/tables/{target.name}/{number}", contents) for number, part in enumerate(parts, 1)
        ]
        named.append(AskedTarget(name=target.name, paths=tuple(places), at_most_ms=target.at_most_ms))
    made = Asked(
        space=space.id,
        accuracy=place,
        published=published,
        targets=tuple(named),
        limits=dict(limits),
        seed=how.seed,
        points=how.points,
        top=how.top,
        thorough=how.thorough,
        parents=tuple(Parent(path=path, sha256=files.sha256_bytes(data)) for path, data in sorted(contents.items())),
    )
    if (folder / REQUEST).exists() and asked.read(folder / REQUEST) != made:
        if (folder / FRONT).exists():
            raise errors.folder_of_another(folder)
        # One that was stopped: there is no answer that would lose what it was made from.
        drop(folder)
    for path, data in contents.items():
        files.write_atomic(folder / path, data)
    files.write_atomic(folder / REQUEST, files.readable_json(made.content()))
    return made


def drop(folder: Path) -> None:
    """Remove from a run folder the request of a search that gave no answer, and the inputs it names; the rest stays."""
    if (folder / FRONT).exists() or not (folder / REQUEST).exists():
        return
    for parent in asked.read(folder / REQUEST).parents:
        (folder / parent.path).unlink(missing_ok=True)
    (folder / REQUEST).unlink()
    below = sorted((path for path in (folder / INPUTS).rglob("*") if path.is_dir()), reverse=True)
    for place in (*below, folder / INPUTS, folder):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def read(folder: Path) -> Asked:
    """Return what was asked of the search in a run folder; raises FileInvalid where an input is not as it was then."""
    found = asked.read(folder / REQUEST)
    for parent in found.parents:
        data = files.read_capped(folder / parent.path, max_bytes=MOST_BYTES, what="input of a search")
        if files.sha256_bytes(data) != parent.sha256:
            raise errors.input_changed(folder / parent.path)
    return found


def write(folder: Path, kept: Facts) -> Path:
    """Write the answer beside the request that it is of, and return its path."""
    files.write_atomic(folder / FRONT, _text(folder, asked.read(folder / REQUEST), kept))
    return folder / FRONT


def again(folder: Path, *, on_point: Callable[[int], None] = lambda number: None) -> bytes:
    """Search once more for what a run folder asks, and return the bytes that its answer has; nothing is written.

    Raises FileInvalid where the request or an input is damaged, NoSubnetFits, and what reading the inputs raises.
    """
    import ofa.space as spaces

    found = read(folder)
    spec, targets = found.within(folder)
    made = request(spaces.by_id(found.space), spec, targets, found.further, warn=lambda text: None)
    return _text(folder, found, answered(made, found.how, on_point=on_point)).encode()


def answered(made: Request, how: How, *, on_point: Callable[[int], None] = lambda number: None) -> Facts:
    """Search, and return the answer as a run folder keeps it."""
    if how.points is not None:
        return answer.kept_of_front(made, answer.front(made, how, on_point=on_point))
    return answer.kept_of_best(made, answer.best(made, how), how)


def _text(folder: Path, found: Asked, kept: Facts) -> str:
    """Return the answer as its file: with what was asked, and everything it was made from by hash."""
    content = found.content()
    parents = content.pop("parents")
    own = files.parent(folder / REQUEST, relative_to=folder)
    return files.readable_json(
        {"schema": SCHEMA, "request": content, "seed": found.seed, "parents": [own, *parents], **kept}
    )


def _predictor(path: Path, *, published: bool) -> tuple[str, dict[str, bytes]]:
    """Return where a predictor is kept, and its files by place in the run folder."""
    if published:
        place = f"{INPUTS}/accuracy.npz"
        return place, {place: _read(path)}
    place = f"{INPUTS}/accuracy"
    card: Any = json.loads(_read(path / CARD))
    return place, {f"{place}/{name}": _read(path / name) for name in (CARD, *sorted(card["files"]))}


def _table(path: Path, place: str, contents: dict[str, bytes]) -> str:
    """Add the files of a table, ours or foreign, to the contents, and return where it is kept."""
    from ofa.lut.format import MOST_BYTES as TABLE_FILES

    if path.suffix.lower() in FOREIGN and not path.is_dir():
        # The device of a foreign table is called by its file: this name gives the same one.
        place = f"{place}/{slug(path)}{path.suffix.lower()}"
        contents[place] = _read(path)
    else:
        contents |= {f"{place}/{name}": _read(path / name) for name in TABLE_FILES}
    return place


def _read(path: Path) -> bytes:
    """Read an input whole."""
    return files.read_capped(path, max_bytes=MOST_BYTES, what="input of a search")
