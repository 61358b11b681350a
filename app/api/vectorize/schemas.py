"""What goes over the wire below `/client/v4/accounts/{account_id}/vectorize`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from app.domain.filters import MetadataKind

T = TypeVar("T")

Metadata = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
# The last is that of collections which other faces made.
MetricName = Literal["cosine", "euclidean", "dot-product", "manhattan"]


class ErrorSource(Struct):
    pointer: Annotated[str, Meta(description="JSON pointer to the field.")]


class Message(Struct, omit_defaults=True):
    """One thing that went wrong."""

    code: Annotated[int, Meta(ge=1000, examples=[3000])]
    message: Annotated[str, Meta(examples=['vectorize.index.not_found - Index name "shoes"'])]
    source: ErrorSource | UnsetType = UNSET


class Envelope(Struct, Generic[T]):
    """Every answer that succeeds."""

    result: T
    success: Literal[True] = True
    errors: list[Message] = []
    messages: list[Message] = []


class Failure(Struct):
    """Every answer that does not."""

    errors: list[Message]
    success: Literal[False] = False
    result: None = None
    messages: list[Message] = []
    result_info: None = None


class BindingFailure(Struct):
    """The same without an envelope, as bindings want it."""

    error: str
    code: int


class CreateConfig(Struct):
    dimensions: int | UnsetType = UNSET
    metric: str | UnsetType = UNSET
    preset: Annotated[
        str | UnsetType,
        Meta(
            description="One of Cloudflare's presets, or a model of this service, whose indexes "
            "embed texts, images and sounds.",
            examples=["@cf/baai/bge-base-en-v1.5", "multimodal-embedding-v1"],
        ),
    ] = UNSET


class CreateIndex(Struct):
    name: Annotated[str, Meta(examples=["example-index"])]
    config: CreateConfig | None = None
    description: str | None = None


class UpdateIndex(Struct):
    description: str | None


class IndexConfig(Struct, omit_defaults=True):
    dimensions: int
    metric: MetricName
    preset: Annotated[
        str | UnsetType, Meta(description="The model that embeds content. An addition.")
    ] = UNSET


class Index(Struct, omit_defaults=True):
    name: str
    config: IndexConfig
    created_on: datetime
    modified_on: datetime
    description: str | UnsetType = UNSET


class MutationResult(Struct, rename="camel"):
    mutation_id: Annotated[str, Meta(examples=["019aa5f2-58cc-7a3e-9d0c-6f0a4c1f4b5e"])]


class LegacyMutation(Struct):
    """What version 1 tells of a mutation."""

    count: int
    ids: list[str]


class Ids(Struct):
    ids: list[str] = []


class Query(Struct, rename="camel"):
    """Exactly one of `vector`, `vectorId`, `text`, `image`, `image_base64` and `audio` is given."""

    vector: list[float] | None = None
    vector_id: str | None = None
    text: Annotated[str | None, Meta(description="For an index with a model. An addition.")] = None
    image: Annotated[str | None, Meta(description="URL of an image. An addition.")] = None
    image_base64: Annotated[str | None, Meta(description="An image. An addition.")] = field(
        default=None, name="image_base64"
    )
    audio: Annotated[str | None, Meta(description="URL of a sound. An addition.")] = None
    audio_base64: Annotated[str | None, Meta(description="A sound. An addition.")] = field(
        default=None, name="audio_base64"
    )
    top_k: Annotated[
        float | None, Meta(description="1 to 100; to 50 with values or all metadata. 5 if absent.")
    ] = None
    return_values: bool | None = None
    return_metadata: Annotated[
        bool | str | None, Meta(description="`none`, `indexed`, `all`, or a boolean.")
    ] = None
    filter: dict[str, Any] | None = None
    namespace: str | None = None


class Match(Struct):
    id: str
    score: float
    values: list[float] | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    namespace: str | UnsetType = UNSET


class Matches(Struct):
    count: int
    matches: Annotated[list[Match], Meta(description="Best first.")]


class Vector(Struct):
    id: str
    values: list[float]
    metadata: Metadata | UnsetType = UNSET
    namespace: str | UnsetType = UNSET


class IndexInfo(Struct, rename="camel"):
    dimensions: int
    vector_count: int
    processed_up_to_datetime: datetime | UnsetType = UNSET
    processed_up_to_mutation: str | UnsetType = UNSET


class VectorId(Struct):
    id: str


class VectorList(Struct, rename="camel"):
    count: int
    is_truncated: bool
    total_count: int
    vectors: list[VectorId]
    next_cursor: str | None
    cursor_expiration_timestamp: datetime | None


class CreateMetadataIndex(Struct, rename="camel"):
    property_name: Annotated[str, Meta(examples=["category"])]
    index_type: MetadataKind


class DeleteMetadataIndex(Struct, rename="camel"):
    property_name: Annotated[str, Meta(examples=["category"])]


class MetadataIndex(Struct, rename="camel"):
    property_name: str
    index_type: MetadataKind


class MetadataIndexes(Struct, rename="camel"):
    metadata_indexes: list[MetadataIndex]


class BindingDescription(Struct, rename="camel"):
    """What version 1 of the binding tells of an index."""

    id: str
    name: str
    config: IndexConfig
    vectors_count: int
    description: str | UnsetType = UNSET
