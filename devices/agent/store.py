"""The model files on the device: which are lacking, and how a pack of them becomes files named by their content."""

import hashlib
import os
import tarfile
import time
from typing import Any, Callable, Dict, List

import bench

MOST_NAMES = 20000
NAMES_A_RECORD = 500
READ_BYTES = 1 << 20
# A draft this old is no host's any more that is still sending it.
STALE_S = 86400

Send = Callable[[Dict[str, Any]], None]


def lacking(request: Dict[str, Any], files: str, send: Send) -> None:
    """Say which of some files are not there, in several records where they are many."""
    names = request.get("names")
    if not isinstance(names, list) or len(names) > MOST_NAMES or not all(bench.is_hash(name) for name in names):
        raise bench.RequestInvalid("'names' must be a list of at most %d sha256 of files" % MOST_NAMES)
    absent: List[str] = [name for name in names if not os.path.exists(os.path.join(files, name))]
    while len(absent) > NAMES_A_RECORD:
        send({"ev": "absent", "names": absent[:NAMES_A_RECORD]})
        absent = absent[NAMES_A_RECORD:]
    send({"ev": "lacking", "names": absent})


def unpack(request: Dict[str, Any], files: str, send: Send) -> None:
    """Turn a pack (a tar archive of files named by their sha256, itself named so) into files, and remove it.

    A member that is not what its name says, or no plain file, ends it: nothing of such a member is kept.
    """
    name = request.get("pack")
    if not bench.is_hash(name) or not isinstance(name, str):
        raise bench.RequestInvalid("'pack' must be the sha256 of a file")
    path = os.path.join(files, name)
    if not os.path.exists(path):
        raise bench.RequestInvalid("the pack is not there")
    drop_drafts(files)
    count = 0
    try:
        with tarfile.open(path, "r:") as pack:
            for member in pack:
                stream = pack.extractfile(member)
                if not member.isreg() or stream is None or not bench.is_hash(member.name) or "/" in member.name:
                    raise bench.RequestInvalid("the pack holds something that is no model file")
                keep(files, member.name, stream)
                count += 1
    except tarfile.TarError as fault:
        raise bench.RequestInvalid("the pack is damaged: %s" % fault)
    finally:
        os.unlink(path)
    send({"ev": "unpacked", "files": count})


def drop_drafts(files: str) -> None:
    """Remove what was left half written: by a host whose link broke for good, or an agent that was killed."""
    for name in os.listdir(files):
        path = os.path.join(files, name)
        try:
            if name.endswith(".part") and time.time() - os.stat(path).st_mtime > STALE_S:
                os.unlink(path)
        # Another agent may be doing the same.
        except OSError:
            pass


def write(path: str, content: bytes, mode: int = 0o666) -> None:
    """Write a small file whole or not at all, and on the disk when this returns; ``mode`` is what the umask leaves."""
    draft = path + ".part"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(draft, path)


def keep(files: str, name: str, stream: Any) -> None:
    """Copy a stream to a file of that name, once its content is found to be what the name says."""
    draft, digest = os.path.join(files, "%s.%d.part" % (name, os.getpid())), hashlib.sha256()
    try:
        with open(draft, "wb") as target:
            part = stream.read(READ_BYTES)
            while part:
                digest.update(part)
                target.write(part)
                part = stream.read(READ_BYTES)
            target.flush()
            os.fsync(target.fileno())
        if digest.hexdigest() != name:
            raise bench.RequestInvalid("the content of file %s does not match its name" % name[:12])
        os.rename(draft, os.path.join(files, name))
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
