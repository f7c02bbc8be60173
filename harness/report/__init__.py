"""One self-contained HTML page from a run folder, or of two: what was found, how well it holds, what it comes from."""

from harness.report.compare import write as compare
from harness.report.page import write

__all__ = ["compare", "write"]
