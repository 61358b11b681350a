"""Lines of insert and upsert, checked one by one and gathered into a batch."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw, Struct, UnsetType

from app.api.inputs import check_input, given_inputs, read_input
from app.api.metadata import MAX_BYTES as MAX_METADATA_BYTES
from app.api.metadata import check_metadata
from app.api.vectorize.codes import Code, VectorizeError
from app.api.vectorize.names import check_id, check_namespace
from app.domain.items import WriteMode
from app.domain.vector_indexes import VectorBatch
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from app.domain.collections import SpaceSpec
    from app.domain.requests import Input
    from app.settings import MediaSettings

# What `unparsable-behavior=discard` skips: lines that are no JSON, or no vector of this schema.
UNPARSABLE = frozenset({Code.UNPARSABLE_VECTORS, Code.INVALID_BODY, Code.INVALID_VECTOR})


class Line(Struct):
    """One vector on the wire; content in place of `values` is an addition."""

    id: str
    values: list[float] | None = None
    namespace: str | None = None
    metadata: Raw | UnsetType = UNSET
    text: str | None = None
    image: str | None = None
    image_base64: str | None = None
    audio: str | None = None
    audio_base64: str | None = None


_lines = msgspec.json.Decoder(Line)
_objects = msgspec.json.Decoder(dict[str, Any])


class BatchReader:
    """Gathers the vectors of one request, of which `most` are taken.

    Of several with one id the first counts for an insert, the last for an upsert.
    """

    def __init__(
        self, spec: SpaceSpec, mode: WriteMode, limits: MediaSettings, *, most: int, discard: bool
    ) -> None:
        self._spec = spec
        self._mode = mode
        self._limits = limits
        self._most = most
        self._discard = discard
        self._lines = 0
        self._places: dict[str, int] = {}
        self._namespaces: list[str] = []
        self._metadata: list[str] = []
        self._values = array("f")
        self._inputs: dict[int, Input] = {}

    async def read(self, groups: AsyncIterator[Iterable[bytes | Raw]]) -> VectorBatch:
        """Raises VectorizeError for the first line that is refused."""
        async for group in groups:
            for line in group:
                self._lines += 1
                if self._lines > self._most:
                    raise VectorizeError(
                        Code.TOO_MANY_VECTORS, f"too many vectors in payload; max is {self._most}"
                    )
                try:
                    await self._take(line)
                except VectorizeError as error:
                    if not self._discard or error.what not in UNPARSABLE:
                        raise
        return self._batch()

    def _batch(self) -> VectorBatch:
        matrix = np.frombuffer(self._values, np.float32).reshape(-1, self._spec.dimensions)
        ids = list(self._places)
        if not (finite := np.isfinite(matrix).all(axis=1)).all():
            name = ids[int(np.argmin(finite))]
            raise VectorizeError(
                Code.INVALID_VECTOR, f'invalid vector for id="{name}": a number is no float32'
            )
        return VectorBatch(ids, self._namespaces, self._metadata, matrix, self._inputs)

    async def _take(self, raw: bytes | Raw) -> None:
        line = self._decode(raw)
        check_id(line.id)
        if not line.id:
            raise self._refused(Code.INVALID_VECTOR, "an id has a character")
        namespace = line.namespace or ""
        check_namespace(namespace)
        if "\0" in line.id or "\0" in namespace:
            raise self._refused(Code.INVALID_VECTOR, "ids and namespaces hold no NUL character")
        metadata = "{}" if line.metadata is UNSET else self._check_metadata(line.metadata)
        source = None if line.values is not None else await self._read_input(line)
        values = line.values if source is None else [0.0] * self._spec.dimensions
        if values is None or len(values) != self._spec.dimensions:
            raise VectorizeError(
                Code.VECTOR_DIMENSIONS,
                f'invalid vector for id="{line.id}", expected {self._spec.dimensions} dimensions, '
                f"and got {len(values or ())} dimensions",
            )
        self._keep(line.id, namespace, metadata, values, source)

    def _keep(
        self, name: str, namespace: str, metadata: str, values: list[float], source: Input | None
    ) -> None:
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = len(self._places)
            self._namespaces.append(namespace)
            self._metadata.append(metadata)
            self._values.fromlist(values)
        elif self._mode is WriteMode.INSERT:
            return
        else:
            self._namespaces[place] = namespace
            self._metadata[place] = metadata
            start = place * self._spec.dimensions
            self._values[start : start + self._spec.dimensions] = array("f", values)
            self._inputs.pop(place, None)
        if source is not None:
            self._inputs[place] = source

    def _decode(self, raw: bytes | Raw) -> Line:
        try:
            return _lines.decode(raw)
        except msgspec.ValidationError as error:
            raise self._refused(Code.INVALID_BODY, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._refused(Code.UNPARSABLE_VECTORS, f"not JSON: {error}") from None

    async def _read_input(self, line: Line) -> Input | None:
        """The content in place of values."""
        if not given_inputs(line):
            raise self._refused(Code.INVALID_BODY, "values is required")
        if self._spec.model_id is None:
            raise self._refused(
                Code.INVALID_BODY, "values is required: this index has no model that embeds content"
            )
        field, faults = check_input(line, ())
        if faults:
            raise self._refused(Code.INVALID_BODY, faults[0].message)
        try:
            return await read_input(line, field, (), self._limits)
        except InvalidInput as error:
            raise self._refused(Code.INVALID_BODY, error.message) from None

    def _check_metadata(self, raw: Raw) -> str:
        size = len(bytes(raw))
        if size > MAX_METADATA_BYTES:
            try:
                size = len(msgspec.json.encode(msgspec.json.decode(raw)))
            except (msgspec.DecodeError, RecursionError) as error:
                raise self._refused(Code.INVALID_VECTOR, f"metadata: {error}") from None
        if size > MAX_METADATA_BYTES:
            raise VectorizeError(
                Code.METADATA_TOO_LARGE,
                f"metadata too large; max is {MAX_METADATA_BYTES} bytes of compact JSON, "
                f"got {size}",
            )
        text, violations = check_metadata(raw, ("metadata",))
        if violations:
            raise self._refused(Code.INVALID_VECTOR, violations[0].message)
        if text != "{}" and (key := _forbidden_key(_objects.decode(text))) is not None:
            raise self._refused(
                Code.INVALID_VECTOR,
                f"the metadata key {key!r} is empty, holds a dot or a quote, or starts with $",
            )
        return text

    def _refused(self, code: Code, reason: str) -> VectorizeError:
        return VectorizeError(code, f"line {self._lines}: {reason}")


def _forbidden_key(value: Any) -> str | None:
    """The first key, at any depth, that Vectorize refuses."""
    inner: Iterable[Any] = ()
    if isinstance(value, dict):
        for key in value:
            if not key or "." in key or '"' in key or key.startswith("$"):
                return str(key)
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    return next((key for part in inner if (key := _forbidden_key(part)) is not None), None)
