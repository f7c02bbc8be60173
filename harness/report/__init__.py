"""One self-contained HTML page from a run folder: what was found, how well it holds, where every number comes from."""

from harness.report.page import write

__all__ = ["write"]
