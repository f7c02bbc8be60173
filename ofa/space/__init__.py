"""The search spaces by name: what may vary, and what each network costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from ofa.errors import UsageInvalid
from ofa.space import errors, sample
from ofa.space.core import SearchSpace
from ofa.space.facts import facts
from ofa.space.mobilenet_v3 import mobilenet_v3, mobilenet_v3_lite, mobilenet_v3_tiny, mobilenet_v3_tiny_lite
from ofa.space.proxyless import proxyless
from ofa.space.resnet50 import resnet50

__all__ = ["SearchSpace", "by_id", "facts", "load", "names", "sample"]

# Declaration and the width multiplier it has where none is given.
SPACES: dict[str, tuple[Callable[[float, int, int], SearchSpace], float]] = {
    "mobilenet_v3": (mobilenet_v3, 1.0),
    "mobilenet_v3_lite": (mobilenet_v3_lite, 1.0),
    "mobilenet_v3_tiny": (mobilenet_v3_tiny, 1.0),
    "mobilenet_v3_tiny_lite": (mobilenet_v3_tiny_lite, 1.0),
    "proxyless": (proxyless, 1.3),
    "resnet50": (resnet50, 1.0),
}
WIDEST = 4.0
MOST_CHANNELS = 64
MOST_CLASSES = 100_000

_ID = re.compile(r"(?P<name>[a-z0-9_]+)-w(?P<width>\d\.\d)(?:-c(?P<channels>\d{1,6}))?(?:-n(?P<classes>\d{1,6}))?")


def names() -> tuple[str, ...]:
    """Return the names of the spaces."""
    return tuple(SPACES)


def load(name: str, *, width: float | None = None, channels: int = 3, classes: int = 1000) -> SearchSpace:
    """Return a space by name; ``width`` is its multiplier, by default the one it was published with.

    Raises UsageInvalid for a name or a number that no space has.
    """
    if name not in SPACES:
        raise errors.space_unknown(name, names())
    declare, usual = SPACES[name]
    multiplier = usual if width is None else round(float(width), 6)
    # One decimal, because the space's id has one: two spaces must never share an id.
    if not 0.1 <= multiplier <= WIDEST or abs(round(multiplier, 1) - multiplier) > 1e-9:
        raise errors.width_unknown(name, multiplier, WIDEST)
    for what, value, least, most in (("channels", channels, 1, MOST_CHANNELS), ("classes", classes, 2, MOST_CLASSES)):
        if not least <= value <= most:
            raise errors.count_out_of_range(name, what, value, least=least, most=most)
    return _made(declare, round(multiplier, 1), channels, classes)


@lru_cache(maxsize=64)
def _made(declare: Callable[[float, int, int], SearchSpace], width: float, channels: int, classes: int) -> SearchSpace:
    """Declare a space once."""
    return declare(width, channels, classes)


def by_id(identity: str) -> SearchSpace:
    """Return the space that ``SearchSpace.id`` names; raises SpaceMismatch where no space has this id."""
    found = _ID.fullmatch(identity)
    if found is None or found["name"] not in SPACES:
        raise errors.id_unknown(identity, names())
    try:
        space = load(
            found["name"],
            width=float(found["width"]),
            channels=int(found["channels"] or 3),
            classes=int(found["classes"] or 1000),
        )
    except UsageInvalid as fault:
        raise errors.id_unknown(identity, names(), fault.what) from fault
    if space.id != identity:
        raise errors.id_unknown(identity, names(), f"its canonical form is '{space.id}'")
    return space
