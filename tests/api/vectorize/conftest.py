from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.vectorize.factories import Account, Index

if TYPE_CHECKING:
    import httpx


@pytest.fixture
def account(api: httpx.Client) -> Account:
    return Account(api)


@pytest.fixture
def index(account: Account) -> Index:
    """An empty index of three dimensions."""
    return account.create()
