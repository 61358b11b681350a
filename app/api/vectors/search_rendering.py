"""From the engine's answer to a search to the wire's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET, Raw

from app.api.vectors import schemas, search_schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.domain.items import Item
    from app.domain.requests import ScoredHit, SearchOutcome
    from app.domain.segments import Segment

    Links = Callable[[Sequence[Item]], Sequence[str | None]]

DECIMALS = 6
SECONDS_DECIMALS = 3


def search_answer(
    outcome: SearchOutcome, links: Links, *, explain: bool = False
) -> search_schemas.SearchAnswer:
    """Render the outcome; `links` presigns the media of items, all in one go."""
    found = [*outcome.hits, *(hit for group in outcome.groups or () for hit in group.hits)]
    items = {hit.item.id: hit.item for hit in found}
    signed = dict(zip(items, links(list(items.values())), strict=True))

    def rendered(hits: Sequence[ScoredHit]) -> list[search_schemas.Hit]:
        return [_hit(hit, signed[hit.item.id]) for hit in hits]

    return search_schemas.SearchAnswer(
        results=rendered(outcome.hits),
        model=outcome.model_id,
        usage=schemas.Usage(outcome.input_tokens),
        groups=UNSET
        if outcome.groups is None
        else [search_schemas.HitGroup(g.value, rendered(g.hits)) for g in outcome.groups],
        facets={
            name: [search_schemas.FacetValue(each.value, each.count) for each in counts]
            for name, counts in outcome.facets.items()
        }
        or UNSET,
        explain=_explanation(outcome) if explain else UNSET,
    )


def _hit(hit: ScoredHit, link: str | None) -> search_schemas.Hit:
    return search_schemas.Hit(
        id=hit.item.id,
        score=round(hit.score, DECIMALS),
        content_type=hit.item.modality,
        metadata=Raw(hit.item.metadata),
        content_url=link,
        similarity=round(hit.similarity, DECIMALS),
        text=UNSET if hit.item.text is None else hit.item.text,
        vector=UNSET
        if hit.vector is None
        else hit.vector.astype("float64").round(DECIMALS).tolist(),
        hybrid_score=UNSET if hit.hybrid_score is None else round(hit.hybrid_score, DECIMALS),
        segment=UNSET if hit.segment is None else _segment(hit.segment),
    )


def _segment(segment: Segment) -> search_schemas.Segment:
    start, end = round(segment.start, SECONDS_DECIMALS), round(segment.end, SECONDS_DECIMALS)
    return search_schemas.Segment(start, end)


def _explanation(outcome: SearchOutcome) -> search_schemas.Explanation:
    report = outcome.report
    return search_schemas.Explanation(
        strategy=report.strategy.value,
        rows=report.rows,
        matching=report.matching,
        matching_capped=report.matching_capped,
        estimated=report.estimated,
        fallback=report.fallback,
        seconds={name: round(took, DECIMALS) for name, took in outcome.seconds.items()},
    )
