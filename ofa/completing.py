"""What a shell offers for the name of a space, a runtime or the folder of a table.

Asked at every press of a key: nothing heavy is imported, and nothing is said where something is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

# Written out: to ask the spaces, or the runtimes, would load numpy. A test holds both to what there is.
SPACES = ("mobilenet_v3", "mobilenet_v3_lite", "mobilenet_v3_tiny", "mobilenet_v3_tiny_lite", "proxyless", "resnet50")
FILE_RUNTIMES = ("onnxruntime", "litert", "tflite_runtime", "torch")
TABLE = "lut.json"
MOST_FOLDERS, MOST_DEPTH = 2_000, 5


def spaces(incomplete: str) -> list[str]:
    """Return the names of spaces that begin so."""
    return [name for name in SPACES if name.startswith(incomplete)]


def runtimes(incomplete: str) -> list[str]:
    """Return the runtimes of files on this computer that begin so."""
    return [name for name in FILE_RUNTIMES if name.startswith(incomplete)]


def tables(incomplete: str) -> list[str]:
    """Return the folders of tables whose path begins so, below here or below the folder that is being typed.

    A few thousand folders are looked at, no more: a shell must not wait for a whole disk.
    """
    start = incomplete.rpartition("/")[0]
    root = "/" if incomplete.startswith("/") and not start else start or "."
    try:
        found = sorted(_tables(root))
    except OSError:
        return []
    if root == "." and not incomplete.startswith("./"):
        found = [path.removeprefix("./") for path in found]
    return [path for path in found if path.startswith(incomplete)]


def _tables(root: str) -> Iterator[str]:
    """Yield the folders below one that hold a table; hidden ones are left out."""
    for number, (folder, below, files) in enumerate(os.walk(root)):
        if number == MOST_FOLDERS:
            return
        deep = folder.removeprefix(root).count("/") >= MOST_DEPTH
        below[:] = [] if deep else sorted(name for name in below if not name.startswith((".", "__")))
        if TABLE in files:
            yield folder
