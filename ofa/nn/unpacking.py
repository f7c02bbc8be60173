"""What torch saved into a file, as plain data: nothing in it is run, and its checksums hold, which torch ignores."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ofa.errors import OfaError
from ofa.files import read_capped


def unpacked(path: Path, *, max_bytes: int, broken: Callable[[Path, str], OfaError], old: bool = False) -> Any:
    """Return what a file holds, on the CPU; it has at most ``max_bytes``, packed and unpacked.

    With ``old`` it may be of a torch before 1.6, which wrote no archives and so no checksums. Raises FileInvalid where
    it cannot be read, and what ``broken`` makes of the path and the reason where it is anything else.
    """
    raw = read_capped(path, max_bytes=max_bytes, what="checkpoint")
    try:
        if not old or raw.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                if sum(part.file_size for part in archive.infolist()) > max_bytes:
                    raise broken(path, f"unpacked it has more than {max_bytes:,} bytes")
                if damaged := archive.testzip():
                    raise broken(path, f"its part {damaged[:80]!r} is damaged")
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except OfaError:
        raise
    except pickle.UnpicklingError as fault:
        raise broken(path, "it holds something else than tensors, numbers and text") from fault
    # A damaged file fails in any way: BadZipFile, RuntimeError, IndexError, AssertionError.
    except Exception as fault:
        raise broken(path, str(fault).partition("\n")[0] or type(fault).__name__) from fault
