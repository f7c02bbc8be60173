"""One precision for everything that is put side by side: an int8 latency beside an fp32 accuracy is a wrong answer."""

from __future__ import annotations

from collections.abc import Mapping

from ofa.twins import errors

ASSUMED = "fp32"


def agreed(precisions: Mapping[str, str | None]) -> tuple[str, list[str]]:
    """Return the one precision of what is used together, by name, and the names whose precision was assumed.

    An unknown precision (None, an import) counts as fp32. Raises UsageInvalid where precisions differ.
    """
    assumed = sorted(name for name, precision in precisions.items() if precision is None)
    named = {name: precision or ASSUMED for name, precision in precisions.items()}
    found = sorted(set(named.values()))
    if len(found) > 1:
        raise errors.unlike_precisions(named, assumed)
    return (found[0] if found else ASSUMED), assumed
