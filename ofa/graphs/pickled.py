"""The few pickle instructions of a TorchScript archive: one object whose attributes are tensors and flags.

A runtime reads them with an interpreter of its own that makes nothing but the classes written in the archive: no code
of ours is looked up by name, nothing runs while the file is loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from ofa.graphs.ir import Array

_PROTO, _STOP, _MARK, _TUPLE, _EMPTY_TUPLE, _EMPTY_DICT = b"\x80\x02", b".", b"(", b"t", b")", b"}"
_NEW_OBJECT, _BUILD, _REDUCE, _PERSISTENT, _SET_ITEMS = b"\x81", b"b", b"R", b"Q", b"u"
_NONE, _TRUE, _FALSE = b"N", b"\x88", b"\x89"


def module_pickle(class_name: str, tensors: Mapping[str, Array], flags: Mapping[str, bool | None]) -> bytes:
    """Return an object of class ``__torch__.<class_name>``; the i-th tensor has its data in the record ``data/<i>``."""
    items = [_text(name) + _tensor(place, array) for place, (name, array) in enumerate(tensors.items())]
    items += [_text(name) + {None: _NONE, True: _TRUE, False: _FALSE}[flag] for name, flag in flags.items()]
    state = _EMPTY_DICT + _MARK + b"".join(items) + _SET_ITEMS
    return _PROTO + _global("__torch__", class_name) + _EMPTY_TUPLE + _NEW_OBJECT + state + _BUILD + _STOP


def _tensor(place: int, array: Array) -> bytes:
    """Return a contiguous float32 CPU tensor: storage, offset, sizes, strides, no gradient, no hooks."""
    storage = _tuple(
        _text("storage"), _global("torch", "FloatStorage"), _text(str(place)), _text("cpu"), _integer(array.size)
    )
    sizes = _tuple(*(_integer(size) for size in array.shape))
    strides = _tuple(*(_integer(stride // array.itemsize) for stride in array.strides))
    hooks = _global("collections", "OrderedDict") + _EMPTY_TUPLE + _REDUCE
    arguments = _tuple(storage + _PERSISTENT, _integer(0), sizes, strides, _FALSE, hooks)
    return _global("torch._utils", "_rebuild_tensor_v2") + arguments + _REDUCE


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _tuple(*parts: bytes) -> bytes:
    return _MARK + b"".join(parts) + _TUPLE
