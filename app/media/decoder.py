"""A decoder process: reads tasks from its standard input and answers them until it ends.

Started by `decoder_pool` with an empty environment; what it decodes may be hostile.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from app.errors import CorruptMedia, MediaError, MediaTooLarge
from app.media import wire
from app.media.audio import decode_audio
from app.media.image import decode_image

# Enough for 50 megapixels in every format (WebP and AVIF hold several copies), not for more.
MEMORY_BYTES: Final = 2 * 2**30
_FILES: Final = 32


def confine() -> None:
    """Give up what decoding does not need: memory beyond a limit, files, core dumps, the log."""
    with Path(os.devnull).open("wb") as nowhere:  # C libraries complain there about bad media
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))


def limit(seconds: float) -> None:
    """End this process after so long, be it busy or asleep, even when its parent is gone.

    0 lifts the limit on the clock; the one on the CPU stands until it is set again.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def decode(task: wire.Task, data: bytearray) -> tuple[wire.Reply, bytes | bytearray]:
    """Do one task. Whatever a decoder raises about its input becomes a Failure."""
    try:
        match task:
            case wire.ImageTask():
                image, width, height = decode_image(data, task)
                return wire.Picture(width, height), image.tobytes()
            case wire.AudioTask():
                return wire.Sound(), decode_audio(data, task)
    except MediaError as error:
        failure = error
    except MemoryError:
        failure = MediaTooLarge("decoding takes more memory than is given to it")
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile input
        failure = CorruptMedia(f"the content cannot be decoded: {error or type(error).__name__}")
    return wire.Failure(failure.code, failure.message[:500]), b""


def serve(connection: socket.socket) -> None:
    """Answer requests until the other side hangs up."""
    while lengths := _receive(connection, wire.LENGTHS.size):
        _answer(connection, *wire.LENGTHS.unpack(lengths))


def _answer(connection: socket.socket, header_size: int, body_size: int) -> None:
    request = msgspec.json.decode(_receive(connection, header_size), type=wire.Request)
    data = _receive(connection, body_size)
    limit(request.seconds)
    reply, body = decode(request.task, data)
    limit(0)
    header = msgspec.json.encode(reply)
    connection.sendall(wire.LENGTHS.pack(len(header), len(body)) + header)
    connection.sendall(body)


def _receive(connection: socket.socket, size: int) -> bytearray:
    """Read exactly `size` bytes; none when the other side has hung up."""
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = connection.recv_into(view[done:])
        if not count:
            return bytearray()
        done += count
    return data


if __name__ == "__main__":
    confine()
    with socket.socket(fileno=sys.stdin.fileno()) as parent:
        parent.sendall(wire.READY)
        serve(parent)
