"""What a search takes and gives. All but the input, `top_k` and `threshold` are additions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from app.api.vectors.schemas import ContentType, ContentUrl, InputFields, Metadata, Usage
from app.domain.modality import Modality
from app.domain.rankings import Language

MAX_TOP_K = 100
MAX_OFFSET = 1_000
MAX_GROUP_SIZE = 100
MAX_FACET_VALUES = 1_000

ItemIds = Annotated[list[str], Meta(max_length=100)]
Field = Annotated[
    str,
    Meta(
        description="A metadata key; a dot steps into an object.",
        examples=["category"],
        extra_json_schema={"minLength": 1, "maxLength": 512},
    ),
]
Share = Annotated[float, Meta(ge=0, le=1)]


class ExampleItems(Struct, forbid_unknown_fields=True):
    """Items of the collection that steer the search."""

    positive: Annotated[ItemIds, Meta(description="Towards these.")] = []
    negative: Annotated[ItemIds, Meta(description="Away from these.")] = []


class WeightedQuery(InputFields, forbid_unknown_fields=True):
    """One of several inputs: exactly one of the input fields, and what it weighs."""

    weight: Annotated[
        float, Meta(ge=-100, le=100, description="Negative to lead away from the input.")
    ] = 1.0


class HybridOptions(Struct, forbid_unknown_fields=True):
    """How full-text search takes part."""

    weight: Annotated[Share, Meta(description="The share of the words: 1 for words alone.")] = 0.5
    text: Annotated[
        str | None,
        Meta(
            description="What to look for; the texts of the inputs if absent.",
            extra_json_schema={"minLength": 1, "maxLength": 8192},
        ),
    ] = None
    fields: Annotated[
        list[Field],
        Meta(max_length=16, description="Metadata to read beside the texts of text items."),
    ] = []
    language: Annotated[
        Language, Meta(description="`simple` takes words as they are; the others stem them.")
    ] = Language.SIMPLE


class FacetOptions(Struct, forbid_unknown_fields=True):
    """A field whose values are counted."""

    field: Field
    limit: Annotated[int, Meta(ge=1, le=MAX_FACET_VALUES, description="Most values.")] = 10


class GroupOptions(Struct, forbid_unknown_fields=True):
    """A field to group by."""

    field: Field
    size: Annotated[int, Meta(ge=1, le=MAX_GROUP_SIZE, description="Most results in a group.")] = 3


class DiversityOptions(Struct, forbid_unknown_fields=True):
    """Maximal marginal relevance."""

    weight: Annotated[
        Share, Meta(description="0 ranks by likeness to the query, 1 by being unlike the rest.")
    ] = 0.5
    candidates: (
        Annotated[int, Meta(ge=1, le=1_000, description="How many of the best to choose from.")]
        | None
    ) = None


class SearchRequest(InputFields, forbid_unknown_fields=True):
    """A search: exactly one of `image`, `image_base64`, `text`, `audio`, `audio_base64`.

    `queries` takes several in its place; with `example` none is needed.
    """

    top_k: Annotated[
        int, Meta(ge=1, le=MAX_TOP_K, description="Most results; with `group_by`, most groups.")
    ] = 10
    threshold: Annotated[float, Meta(ge=0, le=1, description="Least score of a result.")] | None = (
        None
    )
    queries: Annotated[
        list[WeightedQuery] | None,
        Meta(
            description="Several inputs, weighed against each other. An addition.",
            examples=[[{"text": "red shoes"}, {"text": "high heels", "weight": -0.5}]],
            extra_json_schema={"minItems": 1, "maxItems": 16},
        ),
    ] = None
    filter: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Search only the items whose metadata satisfy it: `$eq` (or a bare "
            "value), `$ne`, `$in`, `$nin`, `$lt`, `$lte`, `$gt`, `$gte`, `$exists`, `$and`, "
            "`$or`, `$not`; a dot in a key steps into an object. An addition.",
            examples=[{"category": "footwear", "price": {"$lt": 100}}],
        ),
    ] = None
    content_types: (
        Annotated[list[Modality], Meta(min_length=1, description="Search only these. An addition.")]
        | None
    ) = None
    offset: Annotated[
        int, Meta(ge=0, le=MAX_OFFSET, description="Skip the best so many. An addition.")
    ] = 0
    example: Annotated[
        ExampleItems | None, Meta(description="Instead of, or beside, the input. An addition.")
    ] = None
    exact: Annotated[
        bool, Meta(description="Compare with every vector: no approximation. An addition.")
    ] = False
    include: Annotated[
        list[Literal["vector"]], Meta(description="Return the vectors too. An addition.")
    ] = []
    hybrid: Annotated[
        bool | HybridOptions,
        Meta(
            description="Rank by the words of the items as well: the ranks by vector and by words "
            "are fused. The `score` stays that of the vectors. An addition.",
            examples=[True, {"weight": 0.3, "fields": ["title"], "language": "english"}],
        ),
    ] = False
    diversity: Annotated[
        Share | DiversityOptions | None,
        Meta(
            description="Pass over what is like a better result. An addition.",
            examples=[0.5, {"weight": 0.7, "candidates": 200}],
        ),
    ] = None
    group_by: Annotated[
        Field | GroupOptions | None,
        Meta(
            description="The best `top_k` groups by a field, with their best results in `groups`; "
            "`results` then holds the best of each. An addition.",
            examples=["category", {"field": "category", "size": 5}],
        ),
    ] = None
    facets: Annotated[
        list[Field | FacetOptions],
        Meta(
            max_length=16,
            description="Fields whose values to count, over all items that pass `filter` and "
            "`content_types`. An addition.",
            examples=[["category", {"field": "brand", "limit": 20}]],
        ),
    ] = []
    explain: Annotated[bool, Meta(description="Tell how it was answered. An addition.")] = False


class Segment(Struct):
    """Seconds from the beginning of a recording."""

    start: Annotated[float, Meta(ge=0)]
    end: Annotated[float, Meta(ge=0)]


class Hit(Struct):
    id: str
    score: Annotated[
        float,
        Meta(ge=0, le=1, description="Calibrated: 0.5 is as likely related as not."),
    ]
    content_type: ContentType
    metadata: Metadata
    content_url: ContentUrl
    similarity: Annotated[
        float,
        Meta(
            description="The cosine behind the score; of a sound that one of its segments was "
            "found by, that one's, less the more of them there are. An addition."
        ),
    ]
    text: Annotated[str | UnsetType, Meta(description="Of text items. An addition.")] = UNSET
    vector: Annotated[list[float] | UnsetType, Meta(description="If included. An addition.")] = (
        UNSET
    )
    hybrid_score: Annotated[
        float | UnsetType, Meta(description="What `hybrid` ranks by. An addition.")
    ] = UNSET
    segment: Annotated[
        Segment | UnsetType,
        Meta(
            description="Of sounds: the part that is most like the query, in seconds. An addition."
        ),
    ] = UNSET


class FieldValue(Struct):
    value: str | int | bool


class HitGroup(FieldValue):
    """The items that have a value in the field."""

    results: Annotated[list[Hit], Meta(description="Best first.")]


class FacetValue(FieldValue):
    count: Annotated[int, Meta(ge=1)]


class Explanation(Struct):
    """How a search was answered."""

    strategy: Annotated[
        Literal["exact", "hnsw", "binary"],
        Meta(description="All vectors were compared, or an index led to the nearest."),
    ]
    rows: Annotated[int, Meta(ge=0, description="How many items the collection has.")]
    matching: Annotated[
        int | None,
        Meta(description="How many pass the filter, where they were counted."),
    ]
    matching_capped: Annotated[bool, Meta(description="`matching` is a least number.")]
    estimated: Annotated[
        int | None, Meta(description="How many were expected to pass it, where that was asked.")
    ]
    fallback: Annotated[
        bool, Meta(description="The index found too few, so that all vectors were compared.")
    ]
    seconds: Annotated[
        dict[str, float], Meta(description="What took how long: `encode`, `database`.")
    ]


class SearchAnswer(Struct):
    results: Annotated[list[Hit], Meta(description="Best first.")]
    model: str
    usage: Usage
    groups: Annotated[
        list[HitGroup] | UnsetType,
        Meta(description="With `group_by`, the group with the best result first. An addition."),
    ] = UNSET
    facets: Annotated[
        dict[str, list[FacetValue]] | UnsetType,
        Meta(description="By field, the most frequent value first. An addition."),
    ] = UNSET
    explain: Annotated[Explanation | UnsetType, Meta(description="If asked. An addition.")] = UNSET
