"""From the wire's search to the engine's; every violation is told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from app.api.filter_language import parse_filter, read_path
from app.api.inputs import (
    MAX_TEXT_CHARS,
    check_input,
    check_text,
    given_inputs,
    read_input,
)
from app.api.vectors.search_schemas import (
    DiversityOptions,
    FacetOptions,
    GroupOptions,
    HybridOptions,
)
from app.domain.queries import Diversity
from app.domain.rankings import TextFields
from app.domain.requests import (
    Example,
    FacetRequest,
    GroupBy,
    Hybrid,
    SearchQuery,
    WeightedInput,
)
from app.errors import InvalidInput, Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.api.vectors.schemas import InputFields
    from app.api.vectors.search_schemas import SearchRequest
    from app.domain.filters import Path as FieldPath
    from app.errors import Path
    from app.settings import MediaSettings

T = TypeVar("T")

MAX_QUERIES = 16


async def read_search(request: SearchRequest, limits: MediaSettings) -> SearchQuery:
    """Check and decode a search. Raises InvalidInput and PayloadTooLarge."""
    reader = _Reader()
    sources = reader.inputs(request)
    example = request.example
    if example is not None and not (example.positive or example.negative):
        reader.fault(("example",), "an example names at least one item")
    filter_ = reader.attempt(lambda: parse_filter(request.filter)) if request.filter else None
    if request.filter is not None and not request.filter:
        filter_ = reader.attempt(lambda: parse_filter({}))
    hybrid = reader.hybrid(request.hybrid)
    group_by = reader.group_by(request.group_by)
    facets = reader.facets(request.facets)
    if group_by is not None and request.diversity is not None:
        reader.fault(("diversity",), "groups and diversity do not go together")
    if reader.violations:
        raise InvalidInput(reader.violations)
    inputs = tuple(
        [
            WeightedInput(await read_input(fields, field, path, limits), weight)
            for fields, field, path, weight in sources
        ]
    )
    several = request.queries is not None
    return SearchQuery(
        input=inputs[0].input if inputs and not several else None,
        inputs=inputs if several else (),
        example=Example(tuple(example.positive), tuple(example.negative)) if example else None,
        top_k=request.top_k,
        offset=request.offset,
        threshold=request.threshold,
        modalities=frozenset(request.content_types) if request.content_types else None,
        filter=filter_,
        exact=request.exact,
        with_vectors="vector" in request.include,
        hybrid=hybrid,
        facets=facets,
        group_by=group_by,
        diversity=_diversity(request.diversity),
    )


class _Reader:
    """Collects what is wrong while it reads."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def fault(self, path: Path, message: str) -> None:
        self.violations.append(Violation(path, message))

    def attempt(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except InvalidInput as error:
            self.violations += error.violations
            return None

    def inputs(self, request: SearchRequest) -> list[tuple[InputFields, str, Path, float]]:
        """Find the inputs: the fields and which of them, the path to them, and the weight."""
        if request.queries is None:
            if not given_inputs(request) and request.example is not None:
                return []
            field, faults = check_input(request, ())
            self.violations += faults
            return [(request, field, (), 1.0)]
        if given := given_inputs(request):
            self.fault((given[0],), f"{given[0]} and queries exclude each other")
        if not 1 <= len(request.queries) <= MAX_QUERIES:
            self.fault(("queries",), f"queries has 1 to {MAX_QUERIES} entries")
            return []
        sources: list[tuple[InputFields, str, Path, float]] = []
        for place, query in enumerate(request.queries):
            path: Path = ("queries", place)
            field, faults = check_input(query, path)
            self.violations += faults
            if query.weight == 0:
                self.fault((*path, "weight"), "a weight is not 0")
            sources.append((query, field, path, query.weight))
        if all(query.weight <= 0 for query in request.queries):
            self.fault(("queries",), "at least one weight is positive")
        return sources

    def hybrid(self, given: bool | HybridOptions) -> Hybrid | None:
        if isinstance(given, bool):
            return Hybrid() if given else None
        if given.text is not None:
            path = ("hybrid", "text")
            if not 1 <= len(given.text) <= MAX_TEXT_CHARS:
                self.fault(path, f"text has 1 to {MAX_TEXT_CHARS} characters")
            self.violations += check_text(given.text, path)
        paths = [self.field(name, ("hybrid", "fields", i)) for i, name in enumerate(given.fields)]
        fields = TextFields(tuple(path for path in paths if path), given.language)
        return Hybrid(given.weight, given.text, fields)

    def group_by(self, given: str | GroupOptions | None) -> GroupBy | None:
        if given is None:
            return None
        if isinstance(given, str):
            return GroupBy(self.field(given, ("group_by",)))
        return GroupBy(self.field(given.field, ("group_by", "field")), given.size)

    def facets(self, given: list[str | FacetOptions]) -> tuple[FacetRequest, ...]:
        facets: dict[str, FacetRequest] = {}
        for place, facet in enumerate(given):
            path: Path = ("facets", place)
            options = FacetOptions(facet) if isinstance(facet, str) else facet
            path = path if isinstance(facet, str) else (*path, "field")
            if options.field in facets:
                self.fault(path, f"{options.field} is given more than once")
            field = self.field(options.field, path)
            facets[options.field] = FacetRequest(options.field, field, options.limit)
        return tuple(facets.values())

    def field(self, name: str, path: Path) -> FieldPath:
        return self.attempt(lambda: read_path(name, path)) or ()


def _diversity(given: float | DiversityOptions | None) -> Diversity | None:
    match given:
        case None:
            return None
        case DiversityOptions(weight, candidates):
            return Diversity(weight, candidates)
        case _:
            return Diversity(given)
