"""Shows work that has several phases, each of which says how large it is only once it has begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from harness.session import OnProgress
from harness.waits import is_wait
from ofa import console
from ofa.console import Advance


class _Phases:
    """One bar (or run of lines) for each phase, one after the other."""

    def __init__(self, what: str, stack: ExitStack) -> None:
        """Show nothing yet."""
        self.what = what
        self.stack = stack
        self.done, self.total, self.text = 0, -1, ""
        self.advance: Advance | None = None

    def tell(self, done: int, total: int, text: str) -> None:
        """Take how far a phase is; another total, or a step back, is another phase."""
        if self.advance is None or total != self.total or done < self.done:
            self.stack.close()
            self.advance = self.stack.enter_context(console.progress(self.what, total))
            # What is there already when a phase begins was done before it.
            self.advance(0, note=text, before=done, waiting=is_wait(text))
            self.total = total
        # What is waited for is told too, though nothing more is done meanwhile, and so is the end of waiting.
        elif done > self.done or not done or (text != self.text and done < total):
            self.advance(done - self.done, note=text, waiting=is_wait(text))
        self.done, self.text = done, text


@contextmanager
def phases(what: str) -> Iterator[OnProgress]:
    """Yield what a session tells its progress to."""
    with ExitStack() as stack:
        yield _Phases(what, stack).tell
