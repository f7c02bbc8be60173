"""Says how much memory a process holds at its peak that loads one network, calls it three times, and nothing else."""

from typing import Any, Callable, Dict

import bench
import cores
import probe
import runtimes

CALLS = 3


def footprint(request: Dict[str, Any], folder: str, send: Callable[[Dict[str, Any]], None]) -> None:
    """Answer one footprint request by ``peak_rss_kib``, or by null and the reason; raises RequestInvalid.

    The peak is that of the whole process since it began: it belongs to one network only in a process that was asked
    for nothing else before.
    """
    bench.check_way(request)
    if not bench.is_file(request.get("file")):
        raise bench.RequestInvalid("'file' must be the sha256 of a file")
    cores.pin(request)
    try:
        run = bench.opener(request, request["file"], folder)()
        for _ in range(CALLS):
            run()
    # A runtime may refuse a network in any way of its own; that is a result about the network.
    except Exception as fault:
        send({"ev": "footprint", "peak_rss_kib": None, "reason": runtimes.describe(fault)})
        return
    peak = probe.peak_rss_kib()
    reason = "this system does not say how much memory a process has held" if peak is None else None
    send({"ev": "footprint", "peak_rss_kib": peak, "reason": reason})
