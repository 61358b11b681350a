from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.media.keys import disposition, is_key, new_key
from app.media.links import validity
from app.media.sniff import KINDS


def test_keys_are_never_alike() -> None:
    keys = {new_key("prj_a", "col_b") for _ in range(1000)}
    assert len(keys) == 1000
    assert all(is_key(key) and key.startswith("prj_a/col_b/") for key in keys)
    assert {len(key.rpartition("/")[2]) * 4 for key in keys} == {160}


@pytest.mark.parametrize("bad", ["", "a/b", "..", "a b", "ä", "a" * 65, ".", "a\n"])
def test_ids_that_would_lead_elsewhere_make_no_key(bad: str) -> None:
    with pytest.raises(ValueError, match="is no media key"):
        new_key(bad, "col_b")
    with pytest.raises(ValueError, match="is no media key"):
        new_key("prj_a", bad)


def test_media_is_shown_under_a_safe_name() -> None:
    key = new_key("p", "c")
    token = key.rpartition("/")[2]
    assert disposition(key, "image/jpeg") == f'inline; filename="{token}.jpg"'
    for kind in KINDS:
        assert disposition(key, kind.content_type).startswith("inline; ")


@pytest.mark.parametrize("bad", ["text/html", "image/svg+xml", "image/jpeg; x", "", "IMAGE/JPEG"])
def test_documents_are_never_shown(bad: str) -> None:
    with pytest.raises(ValueError, match="is no content type of media"):
        disposition(new_key("p", "c"), bad)


@given(st.floats(0, 2**40), st.integers(1, 604_800))
@example(1_800_000_000.9, 1)
@example(1_800_000_000.9, 2)
def test_links_are_good_for_at_least_three_quarters_of_their_time(now: float, ttl: int) -> None:
    valid = validity(now, ttl)
    assert valid.seconds == (ttl if ttl >= 4 else ttl + 1)
    assert valid.since <= now < valid.until
    assert valid.until - now >= ttl * 3 / 4


def test_links_stay_the_same_for_a_quarter_of_their_time() -> None:
    assert validity(1_800_000_000, 3600) == validity(1_800_000_899.9, 3600)
    assert validity(1_800_000_000, 3600) != validity(1_800_000_900, 3600)
