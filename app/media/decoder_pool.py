"""Decoding in processes that can be killed, off the event loop.

Each decoder is an interpreter of its own with an empty environment and one socket: no module, no
secret and no open file of the server is in reach of what it decodes, and ending it at any moment
harms nobody else.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

import app
from app.domain.media import DecodedAudio, DecodedImage
from app.domain.modality import Modality
from app.errors import CorruptMedia, MediaError, MediaTooLarge, Unavailable, UnsupportedMedia
from app.media import wire
from app.media.sniff import sniff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.domain.media import AudioInput, ImageInput
    from app.media.sniff import Kind
    from app.settings import MediaSettings

MAX_WORKERS: Final = 8
# A decoder is replaced after so many tasks, so that what a library leaks does not add up.
TASKS_PER_WORKER: Final = 1_000
# The process ends itself this much later than we would end it: for the case that we are gone.
_LAST_RESORT: Final = 5.0
_START_SECONDS: Final = 60.0
_SAMPLE_BYTES: Final = 4
_TAMED_AT_ONCE: Final = 2**18
_ERRORS: Final[dict[str, type[MediaError]]] = {
    kind.code: kind for kind in (CorruptMedia, MediaTooLarge, UnsupportedMedia)
}


class WorkerDied(Exception):
    """The process ended, or spoke nonsense, before it answered."""


class Worker:
    """One decoder process, doing one task at a time."""

    def __init__(self) -> None:
        """Start the process; blocks for about a millisecond, while it gets going by itself."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-S", "-Wignore", "-m", "app.media.decoder"]
        home = Path(app.__file__).parents[1]
        path = os.pathsep.join([str(home), *(entry for entry in sys.path if entry)])
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"PYTHONPATH": path, "MALLOC_ARENA_MAX": "1"},
                cwd="/",
                process_group=0,  # a Ctrl-C is for the server, which then ends its workers
            )
        ours.setblocking(False)
        self._socket = ours
        self.tasks = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until the process has loaded its libraries; WorkerDied when it never will."""
        try:
            await self._receive(len(wire.READY))
        except OSError as error:
            raise WorkerDied from error

    async def run(
        self, request: wire.Request, data: bytes, max_body: int
    ) -> tuple[wire.Reply, bytearray]:
        """Hand over a task and wait for its result of up to `max_body` bytes.

        Raises WorkerDied when there is none.
        """
        self.tasks += 1
        loop = asyncio.get_running_loop()
        header = msgspec.json.encode(request)
        try:
            await loop.sock_sendall(
                self._socket, wire.LENGTHS.pack(len(header), len(data)) + header
            )
            await loop.sock_sendall(self._socket, data)
            lengths = await self._receive(wire.LENGTHS.size)
            header_size, body_size = wire.LENGTHS.unpack(lengths)
            if header_size > wire.MAX_HEADER or body_size > max_body:
                raise WorkerDied
            reply = msgspec.json.decode(await self._receive(header_size), type=wire.Reply)
            return reply, await self._receive(body_size)
        except (OSError, msgspec.MsgspecError) as error:
            raise WorkerDied from error

    async def _receive(self, size: int) -> bytearray:
        loop = asyncio.get_running_loop()
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            count = await loop.sock_recv_into(self._socket, view[done:])
            if not count:
                raise WorkerDied
            done += count
        return data

    def kill(self) -> None:
        """End the process now; who waits for its answer learns that it died."""
        self._process.kill()

    def discard(self) -> None:
        """End the process, which nobody waits for any more."""
        self._socket.close()
        self._process.kill()

    def reap(self) -> None:
        """Wait until a killed process is gone."""
        self._process.wait()


class Decoders:
    """Decodes pictures and recordings; as many at once as there are workers."""

    def __init__(self, settings: MediaSettings) -> None:
        self._settings = settings
        self._size = settings.decode_workers or min(os.cpu_count() or 1, MAX_WORKERS)
        self._slots = asyncio.Semaphore(self._size)
        self._idle: deque[Worker] = deque()
        self._busy: set[Worker] = set()
        self._closed = False

    async def start(self) -> None:
        """Start every worker now rather than when it is first needed.

        Raises Unavailable when they do not work.
        """
        missing = self._size - len(self._idle) - len(self._busy)
        started = await asyncio.gather(*(_spawn() for _ in range(missing)), return_exceptions=True)
        self._idle.extend(worker for worker in started if isinstance(worker, Worker))
        for failure in started:
            if isinstance(failure, BaseException):
                raise failure

    async def close(self) -> None:
        """End all workers; what they are doing fails."""
        self._closed = True
        workers = [*self._idle, *self._busy]
        for worker in self._idle:
            worker.discard()
        for worker in self._busy:
            worker.kill()
        self._idle.clear()
        for worker in workers:
            await asyncio.to_thread(worker.reap)

    @property
    def pids(self) -> list[int]:
        """The processes there are at the moment."""
        return [worker.pid for worker in (*self._idle, *self._busy)]

    async def image(self, data: bytes, spec: ImageInput) -> DecodedImage:
        """Decode a picture to the pixels that `spec` asks for.

        Raises UnsupportedMedia, CorruptMedia (also when decoding crashes or takes too long) or
        MediaTooLarge (by the header's pixels, before decoding).
        """
        kind = _expect(data, Modality.IMAGE)
        task = wire.ImageTask(
            decoder=kind.decoder,
            size=spec.size,
            resize=spec.resize,
            interpolation=spec.interpolation,
            fill=spec.fill,
            max_pixels=self._settings.image_max_pixels,
        )
        size = spec.size**2 * 3
        reply, body = await self._run(task, data, size)
        if not isinstance(reply, wire.Picture) or len(body) != size:
            raise CorruptMedia("the decoder's answer makes no sense")
        pixels = np.frombuffer(body, np.uint8).reshape(spec.size, spec.size, 3)
        return DecodedImage(pixels, reply.width, reply.height, kind.content_type)

    async def audio(self, data: bytes, spec: AudioInput) -> DecodedAudio:
        """Decode a recording's first audio stream to mono at `spec.sample_rate`.

        Raises as `image` does; MediaTooLarge by the header's duration or by the decoded one.
        """
        kind = _expect(data, Modality.AUDIO)
        task = wire.AudioTask(
            decoder=kind.decoder,
            sample_rate=spec.sample_rate,
            max_seconds=self._settings.audio_max_seconds,
        )
        seconds = self._settings.audio_max_seconds + wire.AUDIO_SLACK
        reply, body = await self._run(task, data, int(seconds * spec.sample_rate) * _SAMPLE_BYTES)
        if not isinstance(reply, wire.Sound) or len(body) % _SAMPLE_BYTES:
            raise CorruptMedia("the decoder's answer makes no sense")
        samples = await asyncio.to_thread(_tame, np.frombuffer(body, np.float32))
        duration = len(samples) / spec.sample_rate
        return DecodedAudio(samples, spec.sample_rate, duration, kind.content_type)

    async def _run(
        self, task: wire.Task, data: bytes, max_body: int
    ) -> tuple[wire.Reply, bytearray]:
        timeout = self._settings.decode_timeout
        request = wire.Request(task, timeout + _LAST_RESORT)
        async with self._slots:
            worker = await self._take()
            finished = False
            try:
                async with asyncio.timeout(timeout):
                    reply, body = await worker.run(request, data, max_body)
                finished = True
            except TimeoutError:
                raise CorruptMedia(f"decoding took longer than {timeout:g} seconds") from None
            except WorkerDied:
                if self._closed:
                    raise _shutting_down() from None
                raise CorruptMedia("decoding the content crashed") from None
            finally:
                self._release(worker, keep=finished and worker.tasks < TASKS_PER_WORKER)
        if isinstance(reply, wire.Failure):
            raise _ERRORS.get(reply.code, CorruptMedia)(reply.message)
        return reply, body

    async def _take(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                break
            _end(worker)
        else:
            worker = await _spawn()
        self._busy.add(worker)
        if self._closed:
            self._release(worker, keep=False)
            raise _shutting_down()
        return worker

    def _release(self, worker: Worker, *, keep: bool) -> None:
        self._busy.remove(worker)
        if keep and not self._closed:
            self._idle.append(worker)
        else:
            _end(worker)


def _shutting_down() -> Unavailable:
    return Unavailable("decoders", "the service is shutting down")


async def _spawn() -> Worker:
    """Start a worker off the loop and wait until it is ready; Unavailable when it never is."""
    starting = asyncio.ensure_future(asyncio.to_thread(Worker))
    try:
        worker = await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(lambda started: _end(started.result()))
        raise
    try:
        async with asyncio.timeout(_START_SECONDS):
            await worker.ready()
    except (TimeoutError, WorkerDied) as error:
        _end(worker)
        raise Unavailable("decoders", "the decoder processes do not start") from error
    except asyncio.CancelledError:
        _end(worker)
        raise
    return worker


def _end(worker: Worker) -> None:
    worker.discard()
    asyncio.get_running_loop().run_in_executor(None, worker.reap)


def _expect(data: bytes, modality: Modality) -> Kind:
    kind = sniff(data)
    if kind.modality is not modality:
        raise UnsupportedMedia(f"{kind.content_type} is not an {modality} format that is taken")
    return kind


def _tame(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make every sample a number in [-1, 1]: float formats may hold anything."""
    for start in range(0, len(samples), _TAMED_AT_ONCE):  # numpy takes masks as long as a part
        part = samples[start : start + _TAMED_AT_ONCE]
        np.nan_to_num(part, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        np.clip(part, -1.0, 1.0, out=part)
    return samples
