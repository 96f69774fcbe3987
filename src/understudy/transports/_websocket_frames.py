"""The one WebSocket frame that nearly all are: a whole binary message, as RFC 6455 (section 5.2) lays it out.

The library parses with generators and writes by way of objects, to be ready for frames that come in pieces, messages in
several frames, extensions and wrong states. For a message that is there as a whole that costs several times what there
is to do; so these are made and read here. Whatever is anything else is the library's, also to be refused.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress

from understudy.exceptions import MissingExtra

try:
    from websockets.utils import apply_mask

    with suppress(ImportError):  # without it, the library uses the other one too
        from websockets.speedups import apply_mask
except ImportError:
    raise MissingExtra(what="a WebSocket", package="websockets", extra="websocket") from None

__all__ = ["frame_size", "pack_message", "whole_message"]

_BINARY = 0x82
"""The first byte of such a frame: it is the last of its message, has no extension, and the opcode 2."""
_MASKED = 0x80
_MASK_SIZE = 4
_SHORT = struct.Struct("!BB")
_MEDIUM = struct.Struct("!BBH")
_LONG = struct.Struct("!BBQ")


def pack_message(data: bytes, *, masked: bool) -> bytes:
    """*data* as one frame; *masked*, as what a client sends has to be, with a key that nobody can foresee."""
    size, bit = len(data), _MASKED if masked else 0
    if size < 126:
        head = _SHORT.pack(_BINARY, bit | size)
    elif size < 1 << 16:
        head = _MEDIUM.pack(_BINARY, bit | 126, size)
    else:
        head = _LONG.pack(_BINARY, bit | 127, size)
    if not masked:
        return head + data
    mask = os.urandom(_MASK_SIZE)
    return b"".join((head, mask, apply_mask(data, mask)))


def frame_size(size: int, *, masked: bool) -> int:
    """Bytes of a frame, of whatever kind, that has *size* for its payload, in the shortest form."""
    head = _SHORT if size < 126 else _MEDIUM if size < 1 << 16 else _LONG
    return head.size + (_MASK_SIZE if masked else 0) + size


def whole_message(data: bytes, at: int, max_size: int, *, masked: bool) -> tuple[bytes, int] | None:
    """The message of the frame that begins at *at*, and where the next begins.

    None: there it is no such frame, or not the whole of it, or it is larger than *max_size*, or masked where it must
    not be, or the other way round. To say which, and what comes of it, is the library's.
    """
    left = len(data) - at
    if left < _SHORT.size or data[at] != _BINARY:
        return None
    size = data[at + 1]
    if (size >= _MASKED) is not masked:
        return None
    size &= 0x7F
    begin = at + _SHORT.size
    if size == 126:
        if left < _MEDIUM.size:
            return None
        size = _MEDIUM.unpack_from(data, at)[2]
        begin = at + _MEDIUM.size
    elif size == 127:
        if left < _LONG.size:
            return None
        size = _LONG.unpack_from(data, at)[2]
        begin = at + _LONG.size
    if masked:
        begin += _MASK_SIZE
    end = begin + size
    if size > max_size or end > len(data):
        return None
    message = data[begin:end]
    return (apply_mask(message, data[begin - _MASK_SIZE : begin]) if masked else message), end
