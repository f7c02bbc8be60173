"""How a network is to be run, and what is said where a unit cannot run all of it."""

from typing import List, NamedTuple

UNITS = ("cpu", "gpu", "npu")
PRECISIONS = ("fp32", "fp16", "int8")
MOST_NAMED = 6


class Way(NamedTuple):
    """How a runtime is used; in "fp16" it is to compute a file of float32 in half precision."""

    threads: int = 1
    kernels: str = "default"
    unit: str = "cpu"
    precision: str = "fp32"


class Unsupported(Exception):  # noqa: N818
    """A unit leaves parts of a network to another one; what would be timed is a mixture."""


def left_over(parts: List[str], where: str) -> Unsupported:
    """Return what says which parts of a network do not run where they were wanted."""
    named = ", ".join(parts[:MOST_NAMED])
    more = " and %d more" % (len(parts) - MOST_NAMED) if len(parts) > MOST_NAMED else ""
    return Unsupported("%d of its nodes do not run on %s: %s%s" % (len(parts), where, named, more))
