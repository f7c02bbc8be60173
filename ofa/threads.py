"""One thread for linear algebra, where matrices are small and calls many."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

P = ParamSpec("P")
R = TypeVar("R")


def on_one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function during which BLAS keeps to one thread, also in what it is handed to call.

    A search and a fit call it thousands of times for matrices of a few hundred rows. More threads gain nothing there,
    wait for each other by spinning, and beside other work make the same search take many times as long.
    """

    @functools.wraps(function)
    def limited(*args: P.args, **named: P.kwargs) -> R:
        with threadpool_limits(limits=1, user_api="blas"):
            return function(*args, **named)

    return limited
