"""Numbers of a training for other eyes: ``metrics.jsonl`` is always written, TensorBoard on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ofa.errors import package_missing


@contextmanager
def tensorboard(folder: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield what takes the lines of the log, and write their numbers as TensorBoard events under ``folder``.

    Raises PackageMissing without the package tensorboard.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as fault:
        raise package_missing("tensorboard", extra="track", needed_for="--track tensorboard") from fault
    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(facts: Mapping[str, Any]) -> None:
        step = facts["step"]
        for name, value in facts.items():
            if name == "corners":
                for corner, top1 in value.items():
                    writer.add_scalar(f"top1/{corner}", top1, step)
            elif isinstance(value, (int, float)) and name != "step":
                writer.add_scalar(name, value, step)

    try:
        yield log
    finally:
        writer.close()
