"""Ids that we make: a prefix that tells what they name, and 120 random bits."""

from __future__ import annotations

import secrets
from base64 import b32encode


def new_id(prefix: str) -> str:
    """Return e.g. `item_4f5k…`: 24 characters of lower-case base32 behind the prefix."""
    return f"{prefix}_{b32encode(secrets.token_bytes(15)).decode().lower()}"
