"""The shapes in which official clients send vectors, and what is wrong with some of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.vectorize.factories import NDJSON, Account, Index, lines, refused, result, vector

if TYPE_CHECKING:
    from collections.abc import Iterator

AS_JSON = {"Content-Type": "application/json"}
TWO = lines(vector("a", namespace="n\u00e4"), vector("b", metadata={"a": '\u20ac\n"\\'}))


def check_stored(index: Index) -> None:
    a, b = index.stored("a", "b")
    assert a == {"id": "a", "values": [1, 0, 0], "namespace": "n\u00e4"}
    assert b == {"id": "b", "values": [1, 0, 0], "metadata": {"a": '\u20ac\n"\\'}}


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (TWO, NDJSON),
        (TWO + "\n\n", {"Content-Type": "application/x-ndjson; charset=utf-8;"}),
        (TWO.replace("\n", "\r\n"), NDJSON),
        ("\ufeff" + TWO, NDJSON),
        (TWO, AS_JSON),
        (json.dumps(TWO), AS_JSON),
        (json.dumps(TWO, ensure_ascii=False) + " \n", AS_JSON),
        (TWO, {"Content-Type": "application/octet-stream"}),
        (TWO, {"Content-Type": ""}),
    ],
)
def test_lines_are_taken_under_any_label(
    index: Index, content: str, headers: dict[str, str]
) -> None:
    result(index.send("/insert", content.encode(), headers))
    check_stored(index)


@pytest.mark.parametrize("field", ["vectors", "anything"])
def test_a_form_with_a_file_is_taken(index: Index, field: str) -> None:
    path = f"{index.account.path}/v2/indexes/{index.name}/insert"
    request = index.account.client.build_request(
        "POST",
        path,
        data={"note": "no file"},
        files={field: ("vectors.ndjson", TWO.encode(), "application/x-ndjson")},
    )
    result(index.account.client.send(request))
    check_stored(index)


@pytest.mark.parametrize("wrap", [str, json.dumps])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_body_may_come_in_pieces_of_any_size(index: Index, wrap: Any, size: int) -> None:
    content = wrap(TWO).encode()

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]

    result(index.send("/insert", pieces()))
    check_stored(index)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", 40023),
        (" \n ", 40023),
        ("{", 40023),
        ('"{', 40023),
        ('"a" more', 40023),
        ('"\\x"', 40023),
        ('{"id": "a", "values": [1, 0, 0]}\nnot json', 40023),
        ("[1, 2]", 40102),
        ('{"values": [1, 0, 0]}', 40102),
        ('{"id": "a"}', 40102),
        ('{"id": 1, "values": [1, 0, 0]}', 40102),
        ('{"id": "a", "values": ["1", 0, 0]}', 40102),
        ('{"id": "a", "text": "this index has no model"}', 40102),
        ('{"id": "", "values": [1, 0, 0]}', 40103),
        ('{"id": "a\\u0000", "values": [1, 0, 0]}', 40103),
        ('{"id": "a", "values": [1, 0, 1e39]}', 40103),
        ('{"id": "a", "values": [1, 0, 0], "metadata": []}', 40103),
        ('{"id": "a", "values": [1, 0, 0], "metadata": {"$a": 1}}', 40103),
        ('{"id": "a", "values": [1, 0, 0], "metadata": {"a": [{"b.c": 1}]}}', 40103),
        ('{"id": "a", "values": [1, 0, 0], "metadata": {"": 1}}', 40103),
        ('{"id": "a", "values": [1, 0, 0], "metadata": {"a\\"": 1}}', 40103),
    ],
)
def test_what_is_no_vector_fails_the_request_as_a_whole(
    index: Index, content: str, code: int
) -> None:
    refused(index.send("/upsert", content), 400, code)
    assert index.info()["vectorCount"] == 0


def test_lines_that_are_no_vectors_can_be_discarded(index: Index) -> None:
    content = "\n".join(["nonsense", lines(vector("a")), '{"id": 7, "values": [1]}', "[]"])
    options = {"unparsable-behavior": "discard"}
    result(index.send("/upsert", content, **options))
    assert [entry["id"] for entry in index.stored("a", "7")] == ["a"]
    wrong = lines(vector("b", [1, 0]))
    refused(index.send("/upsert", f"{content}\n{wrong}", **options), 400, 40012)
    refused(index.send("/upsert", TWO, **{"unparsable-behavior": "guess"}), 400, 40106)


def test_a_form_without_a_file_is_refused(index: Index) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    content = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
    refused(index.send("/insert", content, headers), 400, 40023, "no file")
    refused(index.send("/insert", "nonsense", headers), 400, 40023)
    refused(index.send("/insert", content, {"Content-Type": "multipart/form-data"}), 400, 40023)


def test_the_first_of_one_id_is_inserted_and_the_last_upserted(index: Index) -> None:
    first, last = vector("a", [1, 0, 0], namespace="x"), vector("a", [0, 1, 0])
    index.insert(first, last)
    assert index.stored("a") == [first]
    index.insert(last)
    assert index.stored("a") == [first]
    index.upsert(first, last)
    assert index.stored("a") == [last]
    assert index.info()["vectorCount"] == 1


def test_an_upsert_replaces_in_full(index: Index) -> None:
    index.upsert(vector("a", namespace="n", metadata={"old": 1}))
    index.upsert(vector("a", [0, 0, 1], metadata={"new": 1}))
    assert index.stored("a") == [vector("a", [0, 0, 1], metadata={"new": 1})]


def test_numbers_come_back_as_the_float32_that_they_became(index: Index) -> None:
    index.upsert(vector("a", [0.1, 1e-30, 16777217]))
    [stored] = index.stored("a")
    assert stored["values"] == [0.10000000149011612, 1.0000000031710769e-30, 16777216]


def test_limits_are_taken_up_to_the_last_byte(index: Index) -> None:
    metadata = {"a": "x" * (10_240 - len('{"a":""}'))}
    largest = vector("\u00e9" * 32, namespace="n" * 64, metadata=metadata)
    index.upsert(largest)
    assert index.stored("\u00e9" * 32) == [largest]


def test_5000_vectors_are_taken_at_once(account: Account) -> None:
    index = account.create(dimensions=1)
    batch = [vector(str(number), [number]) for number in range(5_001)]
    index.upsert(*batch[:5_000])
    assert index.info()["vectorCount"] == 5_000
    refused(index.send("/upsert", lines(*batch)), 400, 40104, "max is 5000")


def test_an_error_is_told_although_the_client_is_still_sending(index: Index) -> None:
    def endless() -> Iterator[bytes]:
        yield b"nonsense\n"
        for _ in range(100):
            yield b" " * 65536

    refused(index.send("/insert", endless()), 400, 40023)
