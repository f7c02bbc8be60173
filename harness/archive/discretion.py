"""Keeps what would tell of people and places out of an archive: free texts are blanked, all else is refused.

Reasons and notes of a journal are free texts: no table holds them. Folders become PATH, addresses ADDRESS, the names of
this computer and of its user NAME. Any other file that holds a home folder is refused by name.
"""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from harness.archive import errors
from harness.archive.listing import ARTEFACTS
from harness.discreet import ADDRESS, IPV4

FOLDERS = re.compile(r"(?<![\w.])(?:/[\w.+@~-]+){2,}/?")
OF_SOMEBODY = re.compile(rb"/(?:home|Users)/[^/\s'\":\\]+")
PATH, NAME = "PATH", "NAME"
# Of numbers alone: nothing is written in them.
NUMBERS = (".npz",)


def blanked(text: str) -> str:
    """Return a free text without folders, addresses and the names of this computer and its user."""
    text = IPV4.sub(ADDRESS, FOLDERS.sub(PATH, text))
    for word in _names():
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", NAME, text)
    return text


def refuse_private(contents: Mapping[str, bytes]) -> None:
    """Raise FileInvalid naming the first file that holds a home folder, that of this user or another one's."""
    home = str(Path.home())
    own = home.encode() + b"/" if home.count("/") >= 1 and home != "/" else None
    for name, data in contents.items():
        if name.startswith(f"{ARTEFACTS}/") or name.endswith(NUMBERS):
            continue
        if (found := OF_SOMEBODY.search(data)) is not None:
            raise errors.gives_away(name, found.group().decode(errors="replace"))
        if own is not None and own in data:
            raise errors.gives_away(name, home)


def _names() -> list[str]:
    """Return the names of this computer and of its user, longest first."""
    try:
        user = getpass.getuser()
    # A user without an entry, as in some containers.
    except (OSError, KeyError):
        user = ""
    node = platform.node()
    return sorted({word for word in (user, node, node.partition(".")[0]) if word}, key=len, reverse=True)
