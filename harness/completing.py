"""What a shell offers for the name of a device: the lab's own, and the kinds that need no address.

Asked at every press of a key: nothing heavy is imported, and nothing is said where something is wrong.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from harness import places
from ofa.files import MEBIBYTE, read_capped

NO_ADDRESS = ("local", "simulated")


def devices(incomplete: str) -> list[str]:
    """Return the names of devices that begin so, those of the lab's list first; none where nothing can be read."""
    return [name for name in dict.fromkeys((*_units(), *_kinds())) if name.startswith(incomplete)]


def _units() -> list[str]:
    """Return the devices of the lab's list."""
    found = _content(places.lab_folder() / places.LAB).get("devices")
    return sorted(found) if isinstance(found, dict) else []


def _kinds() -> list[str]:
    """Return the kinds that need no address."""
    try:
        profiles = places.devices_folder() / "profiles"
        names = places.profile_names()
    except Exception:
        return []
    return [name for name in names if _content(profiles / f"{name}.toml").get("transport") in NO_ADDRESS]


def _content(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds, nothing where it cannot be read: its own verb says what is wrong."""
    try:
        return tomllib.loads(read_capped(path, max_bytes=MEBIBYTE, what="list").decode())
    except Exception:
        return {}
