"""The one subnet that a file means, told before anything is loaded that takes long."""

from __future__ import annotations

from pathlib import Path

from ofa.space import listed
from ofa.space.core import SearchSpace, Subnet
from ofa.train import errors

# Before its run is read nobody knows the space, whose own corners may be more: these two every space has.
CORNERS = ("max", "min")


def one_of(path: Path, identity: str | None, *, space: SearchSpace | None = None) -> Subnet:
    """Return the one subnet of a file: the one with an id, else its choice, or the only one.

    Raises what `listed.read` does, and UsageInvalid where none or several fit.
    """
    fitting = listed.picked(path, identity, space=space)
    if len(fitting) != 1:
        ids = [subnet.id for subnet in listed.read(path, space=space, every=identity is not None)]
        raise errors.which_subnet(str(path), identity, ids)
    return fitting[0]


def refuse_early(text: str | None, identity: str | None) -> None:
    """Raise where the name of a subnet on a command line can mean none, as far as it says so without its run."""
    if text is None:
        return
    path = Path(text)
    if path.is_file():
        one_of(path, identity)
    elif path.suffix == ".json":
        raise errors.no_such_subnet(text, CORNERS)
