"""One link, without I/O: batches of frames, counted, acknowledged and authenticated.

A batch is what one message of a connection carries:

    number (8)  acknowledged (8)  wants an answer (1)  frames ...  code (16, where there is a token)

Numbers go up by one; so a batch that was left out, came twice, or comes from another session is noticed. A write to a
connection whose other end is gone succeeds for a long time, so whatever wants an answer has a deadline: *acknowledged*
is the number of the last batch that has come, and a side that has nothing to say asks now and then.
"""

from __future__ import annotations

import hmac
import math
import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy._plans._instant import INSTANT
from understudy.transports._codec import HEADER_SIZE
from understudy.transports._errors import ConnectionLost, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.transports._codec import Codec, Packed
    from understudy.transports._frames import Frame
    from understudy.transports._handshake import Session

__all__ = ["BATCH_SIZE", "LinkProtocol", "Timing", "largest_batch"]

BATCH_SIZE = 64 * 1024
"""Bytes; frames are put together into one batch until it is that large."""

_HEAD = struct.Struct("!QQB")
_CODE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a link that is silent is asked, and given up. In seconds."""

    heartbeat: float = 5.0
    """After so long without anything sent, the peer is asked whether it is there."""
    ack_timeout: float = 10.0
    """What was sent and not acknowledged for so long is lost, and the link with it."""
    ack_delay: float = 0.05
    """How long an acknowledgement waits for something to go with."""


def largest_batch(max_size: int) -> int:
    """Bytes of the largest batch of frames of up to *max_size*: what the connection has to take."""
    return max(BATCH_SIZE, max_size + HEADER_SIZE) + _HEAD.size + _CODE


class LinkProtocol:
    """The state of one link.

    It is told what has come and what time it is; it says what is to be sent, and when it wants to be asked again. Each
    call either has its whole effect or raises; after it has raised, the link is over.
    """

    def __init__(self, codec: Codec, session: Session, timing: Timing, now: float) -> None:
        self._codec = codec
        self._session = session
        self._timing = timing
        self._send_code = _code_with(session.send_key)
        self._receive_code = _code_with(session.receive_key)
        self._frames: deque[bytes] = deque()
        self.waiting = 0
        """Bytes of frames that have not been put into a batch."""
        self._sent = 0
        self._received = 0
        # The numbers of the batches that want an answer and have none, with the time of each.
        self._open: deque[tuple[int, float]] = deque()
        self._last_sent = now
        self.ack_due = math.inf
        """When what has come has to be acknowledged; never, if it has been."""

    # Out

    def put(self, frame: Frame, body: bytes = b"") -> None:
        """Have *frame* sent with the next batch, behind those before.

        Raises:
            MessageNotAccepted: It is too large.
        """
        self.put_packed(self._codec.pack(frame, body))

    def put_packed(self, data: bytes) -> None:
        """Likewise, for a frame that the codec of this link has packed."""
        self._frames.append(data)
        self.waiting += len(data)

    def next_batch(self, now: float) -> bytes | None:
        """What is to be sent now; None: nothing, until :meth:`due`."""
        if self.waiting <= BATCH_SIZE:
            frames: Sequence[bytes] = self._frames
            if frames:
                self._frames, self.waiting = deque(), 0
        else:
            frames = self._next_frames()
        asks = bool(frames) or now >= self._last_sent + self._timing.heartbeat - INSTANT
        if not asks and now < self.ack_due - INSTANT:
            return None
        self._sent += 1
        self._last_sent = now
        self.ack_due = math.inf
        if asks:
            self._open.append((self._sent, now))
        data = b"".join((_HEAD.pack(self._sent, self._received, asks), *frames))
        return data if self._send_code is None else data + self._send_code.of(data)

    def _next_frames(self) -> list[bytes]:
        waiting = self._frames
        frames = [waiting.popleft()]
        size = len(frames[0])
        while waiting and size + len(waiting[0]) <= BATCH_SIZE:
            frames.append(waiting.popleft())
            size += len(frames[-1])
        self.waiting -= size
        return frames

    def due(self) -> float:
        """When :meth:`next_batch` and :meth:`check` want to be called, if nothing else happens before."""
        if self._frames:
            return -math.inf
        due = min(self._last_sent + self._timing.heartbeat, self.ack_due)
        return min(due, self._open[0][1] + self._timing.ack_timeout) if self._open else due

    def check(self, now: float) -> None:
        """Look whether the other side is there.

        Raises:
            ConnectionLost: It has not acknowledged what it was sent.
        """
        if self._open and now >= self._open[0][1] + self._timing.ack_timeout - INSTANT:
            seconds = self._timing.ack_timeout
            raise ConnectionLost(peer=self._session.peer.name, why=f"nothing was acknowledged for {seconds:g} s")

    # In

    def receive(self, data: bytes, now: float) -> list[Packed]:
        """The frames in a batch that has come.

        Raises:
            ProtocolError: It is no batch that could come now.
        """
        end = len(data)
        if self._receive_code is not None:
            end -= _CODE
            # What is shorter than a code is equal to none.
            if not hmac.compare_digest(data[-_CODE:], self._receive_code.of(memoryview(data)[:end])):
                raise ProtocolError(problem="a batch that is not authentic")
        if end < _HEAD.size:
            raise ProtocolError(problem="a batch that is too short")
        number, acknowledged, asks = _HEAD.unpack_from(data)
        if number != self._received + 1:
            raise ProtocolError(problem=f"batch {number} after batch {self._received}")
        if acknowledged > self._sent or asks > 1:
            raise ProtocolError(problem="a batch that acknowledges what was not sent")
        frames = self._codec.unpack(data, _HEAD.size, end)
        if frames and not asks:
            raise ProtocolError(problem="frames in a batch that wants no answer")
        self._received = number
        while self._open and self._open[0][0] <= acknowledged:
            self._open.popleft()
        if asks and self.ack_due == math.inf:
            self.ack_due = now + self._timing.ack_delay
        return frames


class _Code:
    """HMAC-SHA256 (RFC 2104), of which the first 16 bytes are taken, always with the same key.

    What is the same for each is done once, which for a small batch is most of it; of large ones SHA-256 is the fastest
    that there is, since processors have it.
    """

    def __init__(self, key: bytes) -> None:
        keyed = hmac.new(key, digestmod="sha256")
        # What OpenSSL has made, without the object of Python's around it. A private name; a test guards it.
        self._keyed: hmac.HMAC = getattr(keyed, "_hmac", None) or keyed

    def of(self, data: bytes | memoryview) -> bytes:
        """The code of *data*."""
        code = self._keyed.copy()
        code.update(data)
        return code.digest()[:_CODE]


def _code_with(key: bytes | None) -> _Code | None:
    return None if key is None else _Code(key)
