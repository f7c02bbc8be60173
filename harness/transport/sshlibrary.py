"""Loads the SSH library where a device over SSH is used, and nowhere else."""

from __future__ import annotations

import logging

from ofa.errors import package_missing


def need_paramiko() -> None:
    """Make sure paramiko is there and prints nothing of its own; raises PackageMissing."""
    try:
        import paramiko  # noqa: F401
    except ImportError as fault:
        raise package_missing("paramiko", extra="ssh", needed_for="devices over SSH") from fault
    log = logging.getLogger("paramiko")
    # Without any handler Python prints a library's errors, and this one logs tracebacks of faults that we explain.
    if not log.handlers:
        log.addHandler(logging.NullHandler())
