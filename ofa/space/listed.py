"""Subnets as files hold them: one, a list of them, what a search printed, or a front."""

from __future__ import annotations

from typing import Any

# Where an answer keeps networks, each with its subnet: those that differ, a front, and a demo's choice of one.
_LISTS = ("top", "front", "chosen", "points")


def entries(content: Any, *, every: bool = False) -> list[Any]:
    """Return the JSON of each subnet that a file's content holds, unchecked.

    Of what 'ofa search --json' prints that is its best network; with ``every`` also the others. Of a front all.
    """
    if isinstance(content, list):
        return content
    if not isinstance(content, dict) or "space" in content:
        return [content]
    answer = [content["best"]] if "best" in content else []
    if not answer or every:
        answer += [point for name in _LISTS for point in _listed(content.get(name))]
    found = [one["subnet"] for one in answer if isinstance(one, dict) and "subnet" in one]
    return [one for place, one in enumerate(found) if one not in found[:place]] or [content]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
