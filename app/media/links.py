"""How long presigned links live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_WINDOWS_PER_TTL: Final = 4


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a link is good, in seconds since the epoch."""

    since: int
    until: int

    @property
    def seconds(self) -> int:
        return self.until - self.since


def validity(now: float, ttl: int) -> Validity:
    """Return the validity of links made at `now`: good for three quarters of `ttl` or longer.

    It only changes every quarter of `ttl`, in every process alike, so that a browser that sees a
    page again finds its pictures in the cache.
    """
    window = max(1, ttl // _WINDOWS_PER_TTL)
    since = int(now) // window * window
    # A quarter of less than four seconds is less than the second that times are told in.
    spare = 1 if ttl < _WINDOWS_PER_TTL else 0
    return Validity(since, since + ttl + spare)
