"""Tells where the nodes of an ONNX network run: onnxruntime gives what a provider cannot run to the CPU, and says
nothing."""

import json
import os
import shutil
import tempfile
from typing import Any, Callable, Dict, List

MOST_PROFILE_BYTES = 64 << 20
# Since this release (1.x) a session can be told to fail rather than to use the CPU.
CAN_REFUSE = 16


def can_refuse(version: str) -> bool:
    """Say whether an onnxruntime of this version knows the entry `session.disable_cpu_ep_fallback`."""
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return False
    return (major, minor) >= (1, CAN_REFUSE)


def elsewhere(
    options: Any, open_session: Callable[[], Any], values: Callable[[Any], Dict[str, Any]], provider: str
) -> List[str]:
    """Return the nodes ("Conv conv_3") of a network that a session runs by another provider than the one wanted.

    They are those of a session of its own, opened with these options and run once with a profile: nothing is timed in
    it. ``values`` gives what it takes.
    """
    folder = tempfile.mkdtemp(prefix="ofa-profile-")
    try:
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "profile")
        session = open_session()
        session.run(None, values(session))
        return left_by(session.end_profiling(), provider)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def left_by(path: str, provider: str) -> List[str]:
    """Return the nodes of a profile that another provider ran, in order; raises ValueError for one that names none."""
    if os.path.getsize(path) > MOST_PROFILE_BYTES:
        raise ValueError("the profile that tells where nodes run is too large to be read")
    with open(path, "rb") as stream:
        events = json.loads(stream.read().decode("utf-8"))
    placed: Dict[str, str] = {}
    for event in events:
        facts = event.get("args", {})
        if event.get("cat") == "Node" and facts.get("provider"):
            # An event is called after its node and what it is the time of: "conv_3_kernel_time".
            node = "%s %s" % (facts.get("op_name", "?"), str(event.get("name", "?")).replace("_kernel_time", ""))
            placed[node] = facts["provider"]
    if not placed:
        raise ValueError("the profile does not tell where nodes run")
    return [node for node, where in placed.items() if where != provider]
