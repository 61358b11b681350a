from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.app import Service

_numbers = count(1)


@dataclass(frozen=True)
class Account:
    """An account of the running service that is the test's own; `http` starts at its indexes."""

    id: str
    base_url: str
    http: httpx.Client


@pytest.fixture
def account(service: Service) -> Iterator[Account]:
    name = f"client-{next(_numbers)}"
    base = f"{service.url}/client/v4"
    with httpx.Client(base_url=f"{base}/accounts/{name}/vectorize/v2/indexes") as client:
        yield Account(name, base, client)
