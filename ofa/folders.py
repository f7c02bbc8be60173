"""Where things are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for what can be made again: ``$OFA_CACHE``, or this system's cache folder; not created."""
    if chosen := os.environ.get("OFA_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("ofa-lab", appauthor=False)
