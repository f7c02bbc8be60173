"""Shows work that has several phases, each of which says how large it is only once it has begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from harness.session import OnProgress
from ofa import console


@contextmanager
def phases(what: str) -> Iterator[OnProgress]:
    """Yield what a session tells its progress to: one bar (or run of lines) for each phase, one after the other."""
    with ExitStack() as stack:
        total_before, done_before, advance = 0, 0, None

        def tell(done: int, total: int, text: str) -> None:
            nonlocal total_before, done_before, advance
            if advance is None or total != total_before or done < done_before:
                stack.close()
                advance = stack.enter_context(console.progress(what, total))
                total_before, done_before = total, 0
            if done > done_before or not done:
                advance(done - done_before, note=text)
            done_before = done

        yield tell
