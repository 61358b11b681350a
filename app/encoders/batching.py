"""Requests that arrive together run together: batches by tower, searches on their own thread.

Inputs wait in lanes, one for each tower and priority. One thread takes its batches from the lanes
of searches, the other from the oldest of indexing, or of what is done in the background when nobody
indexes. So a search waits for other searches alone, and an indexing batch may be as large as it is
efficient: the two share the processor, which gives the shorter one its turn.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.encoders.work import LANES, Encoded, Input, Job, Lane, Priority
from app.errors import Overloaded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from app.domain.modality import Modality
    from app.encoders.registry import Model
    from app.settings import ModelSettings

# Under an unbroken stream of indexing, the background gets a batch whenever it waited this long.
BACKGROUND_PATIENCE = 2.0

# Indexing waits for the background's batch in flight, and closing for all: they are cut to take
# about this long, which is much for small towers and little for large ones.
BATCH_SECONDS = 0.5

_SEARCHES = {Priority.SEARCH}
_OTHERS = {Priority.INDEX, Priority.BACKGROUND}

_UNMEASURED_PACE = 0.05  # seconds a row, until a tower's first batch tells
_PACE_WEIGHT = 0.2
_RETRY_AFTER = (1.0, 60.0)


@dataclass(slots=True)
class TowerStats:
    """What one tower of one model did.

    A row is what the tower takes: an image, a text, a window of audio. `sizes` counts batches by
    their rows, `pace` is the recent seconds a row.
    """

    model_id: str
    modality: Modality
    batches: int = 0
    rows: int = 0
    seconds: float = 0.0
    sizes: Counter[int] = field(default_factory=Counter)
    pace: float = _UNMEASURED_PACE

    def record(self, rows: int, seconds: float) -> None:
        pace = seconds / rows
        self.pace = pace if not self.batches else self.pace + _PACE_WEIGHT * (pace - self.pace)
        self.batches += 1
        self.rows += rows
        self.seconds += seconds
        self.sizes[rows] += 1


class Batcher:
    """The threads that run the towers, and the queues before them."""

    def __init__(self, settings: ModelSettings) -> None:
        self._batch_size = settings.batch_size
        self._batch_delay = settings.batch_delay
        self._queue_size = settings.queue_size
        self._changed = threading.Condition()
        self._lanes: dict[tuple[Model, Modality, Priority], Lane[Any]] = {}
        self._waiting = dict.fromkeys(Priority, 0)
        self._towers: dict[tuple[str, Modality], TowerStats] = {}
        self._background_ran = time.monotonic()
        self._threads: list[threading.Thread] = []
        self._closing = False

    def start(self) -> None:
        for name, priorities in (("search", _SEARCHES), ("index", _OTHERS)):
            thread = threading.Thread(
                target=self._work, args=(priorities,), name=f"encode-{name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Finish the batches in flight and fail what waits; blocks until the threads have ended."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._fail(
            [each for lane in self._lanes.values() for each in lane.waiting],
            Unavailable("encoder", "the encoder is shutting down"),
        )

    async def submit(
        self, model: Model, modality: Modality, priority: Priority, values: Sequence[Any]
    ) -> Encoded:
        """Wait for the vectors of a request's inputs; cancelling it takes them off the queue.

        Overloaded when the queue of that priority is full, unless it is empty: a request that is
        larger than the queue must be possible, too.
        """
        future: asyncio.Future[Encoded] = asyncio.get_running_loop().create_future()
        job = Job(len(values), model.card.dimensions, priority, future)
        if not values:
            return Encoded(job.vectors, job.tokens)
        lane = self._lane(model, modality, priority)
        self._admit(job, lane, lane.wrap(job, values))
        try:
            return await future
        except asyncio.CancelledError:
            self._withdraw(job, lane)
            raise

    def forget(self, model: Model) -> None:
        """Let go of a model that nobody waits for."""
        with self._changed:
            self._lanes = {key: lane for key, lane in self._lanes.items() if key[0] is not model}

    def waiting(self) -> dict[Priority, int]:
        """Count what waits or runs, by priority."""
        with self._changed:
            return dict(self._waiting)

    def towers(self) -> list[TowerStats]:
        with self._changed:
            return [replace(stats, sizes=stats.sizes.copy()) for stats in self._towers.values()]

    def _lane(self, model: Model, modality: Modality, priority: Priority) -> Lane[Any]:
        key = model, modality, priority
        with self._changed:
            if key not in self._lanes:
                self._lanes[key] = LANES[modality](model, priority, self._batch_size)
            return self._lanes[key]

    def _admit(self, job: Job, lane: Lane[Any], inputs: Sequence[Input[Any]]) -> None:
        job.weight = sum(each.weight for each in inputs)
        with self._changed:
            if self._closing or not self._threads:
                raise Unavailable("encoder", "the encoder is not running")
            waiting = self._waiting[job.priority]
            if waiting and waiting + job.weight > self._queue_size:
                raise Overloaded(
                    f"{waiting} inputs wait for the encoder, and it takes {self._queue_size}",
                    self._seconds_to_clear(job.priority),
                )
            lane.waiting.extend(inputs)
            self._waiting[job.priority] += job.weight
            self._changed.notify_all()

    def _withdraw(self, job: Job, lane: Lane[Any]) -> None:
        with self._changed:
            self._close_job(job)
            lane.withdraw(job)

    def _close_job(self, job: Job) -> None:
        job.closed = True
        self._waiting[job.priority] -= job.weight
        job.weight = 0

    def _seconds_to_clear(self, priority: Priority) -> float:
        """Estimate, by the towers' measured pace, when what is before a new request is done."""
        ahead = [lane for lane in self._lanes.values() if lane.priority <= priority]
        least, most = _RETRY_AFTER
        return min(max(least, sum(lane.rows() * self._stats(lane).pace for lane in ahead)), most)

    def _work(self, priorities: Container[Priority]) -> None:
        while self._run_next(priorities):
            pass

    def _run_next(self, priorities: Container[Priority]) -> bool:
        """Wait for a batch of these priorities and run it; False when closing.

        One call for one batch: nothing of it stays alive while the thread waits for the next.
        """
        lane = self._next_lane(priorities)
        if lane is None:
            return False
        with self._changed:
            lane.room = self._room(lane)
            batch = lane.take()
        if batch:  # all may have been withdrawn since
            self._run(lane, batch)
        return True

    def _room(self, lane: Lane[Any]) -> int:
        if lane.priority is Priority.SEARCH:
            return self._batch_size
        affordable = int(BATCH_SECONDS / self._stats(lane).pace)
        return max(1, min(self._batch_size, affordable))

    def _next_lane(self, priorities: Container[Priority]) -> Lane[Any] | None:
        """Wait for work; None when closing."""
        idle = False
        with self._changed:
            while not self._closing:
                lane = self._choose(priorities)
                if lane is None:
                    idle = True
                    self._changed.wait()
                elif idle and (pause := self._pause(lane)) > 0:
                    self._changed.wait(pause)
                else:
                    return lane
        return None

    def _choose(self, priorities: Container[Priority]) -> Lane[Any] | None:
        oldest: dict[Priority, Lane[Any]] = {}
        for lane in self._lanes.values():
            rival = oldest.get(lane.priority)
            ours = lane.priority in priorities and lane.waiting
            if ours and (rival is None or lane.arrived < rival.arrived):
                oldest[lane.priority] = lane
        last = oldest.get(Priority.BACKGROUND)
        if last is not None:
            waited = time.monotonic() - max(last.arrived, self._background_ran)
            if waited > BACKGROUND_PATIENCE:
                return last
        return oldest[min(oldest)] if oldest else None

    def _pause(self, lane: Lane[Any]) -> float:
        """Return the seconds worth waiting for more of a burst; a lone request waits for none."""
        jobs = {each.job for each in lane.waiting}
        if len(jobs) < 2 or len(lane.waiting) >= self._batch_size:
            return 0.0
        return lane.arrived + self._batch_delay - time.monotonic()

    def _run(self, lane: Lane[Any], batch: Sequence[Input[Any]]) -> None:
        started = time.perf_counter()
        try:
            rows, unfinished = lane.run(batch)
        except Exception as error:  # noqa: BLE001 (whoever waits for this batch gets it)
            self._fail(batch, error)
            return
        finally:
            if lane.priority is Priority.BACKGROUND:
                self._background_ran = time.monotonic()
        left = set(map(id, unfinished))
        finished = [each for each in batch if id(each) not in left]
        with self._changed:
            self._stats(lane).record(rows, time.perf_counter() - started)
            lane.put_back(unfinished)
            done = [each.job for each in finished if self._count_off(each)]
        for job in done:
            job.future.get_loop().call_soon_threadsafe(job.resolve)

    def _count_off(self, finished: Input[Any]) -> bool:
        """Take an input off the counts; tell whether its job is done."""
        job = finished.job
        if job.closed:
            return False
        job.left -= 1
        job.weight -= finished.weight
        self._waiting[job.priority] -= finished.weight
        job.closed = not job.left
        return job.closed

    def _fail(self, inputs: Sequence[Input[Any]], error: Exception) -> None:
        """Fail the jobs of some inputs, and drop what else of them waits."""
        with self._changed:
            jobs = {each.job for each in inputs if not each.job.closed}
            for job in jobs:
                self._close_job(job)
            for lane in self._lanes.values():
                lane.put_back([lane.waiting.popleft() for _ in range(len(lane.waiting))])
        for job in jobs:
            job.future.get_loop().call_soon_threadsafe(job.fail, error)

    def _stats(self, lane: Lane[Any]) -> TowerStats:
        key = lane.model.card.id, lane.modality
        if key not in self._towers:
            self._towers[key] = TowerStats(*key)
        return self._towers[key]
