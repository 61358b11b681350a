"""What goes over the wire under `/v1/vectors`.

Additions to the published contract are marked as such in their descriptions. `null` stands for
absent in requests, since many clients write their empty fields so.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from app.domain.modality import Modality
from app.domain.requests import OnError

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        description="Unique within the project.",
        examples=["product-images"],
    ),
]
Description = Annotated[
    str,
    Meta(
        max_length=500,
        description="For people.",
        examples=["Product catalog for visual search"],
    ),
]
Metadata = Annotated[
    Raw,
    Meta(
        description="A JSON object, up to 10 KiB of compact JSON.",
        examples=[{"category": "footwear", "sku": "SH-001"}],
        extra_json_schema={"type": "object"},
    ),
]
OptionalMetadata = Annotated[
    Raw | UnsetType,
    Meta(
        description="A JSON object, up to 10 KiB of compact JSON; null for none.",
        examples=[{"category": "footwear", "sku": "SH-001"}],
        extra_json_schema={"type": ["object", "null"]},
    ),
]
ContentType = Annotated[
    Modality | None, Meta(description="null for a bare vector that another API stored.")
]
ContentUrl = Annotated[
    str | None,
    Meta(description="A presigned link to the media, valid for a while; null for text."),
]
Tokens = Annotated[
    int,
    Meta(description="Text tokens, image patches and audio frames that the model took.", ge=0),
]
MetricName = Literal["COSINE", "DOT", "EUCLIDEAN", "MANHATTAN"]


class CreateCollection(Struct, forbid_unknown_fields=True):
    """A collection to create."""

    name: Name
    description: Description | None = None
    model_id: (
        Annotated[
            str,
            Meta(description="The default model if absent.", examples=["multimodal-embedding-v1"]),
        ]
        | None
    ) = None


class UpdateCollection(Struct, forbid_unknown_fields=True):
    """What to change of a collection; what is absent stays. An addition."""

    name: Name | None = None
    description: Description | UnsetType | None = UNSET


class InputFields(Struct, forbid_unknown_fields=True):
    """The fields that a content comes in, exactly one of them."""

    image: Annotated[
        str | None,
        Meta(description="URL of an image.", examples=["https://example.com/shoe.jpg"]),
    ] = None
    image_base64: Annotated[
        str | None, Meta(description="An image in base64 (RFC 4648 section 4), or as a data URI.")
    ] = None
    text: Annotated[
        str | None,
        Meta(
            description="Text of 1 to 8,192 characters.",
            examples=["Red leather running shoes with white soles"],
            extra_json_schema={"minLength": 1, "maxLength": 8192},
        ),
    ] = None
    audio: Annotated[str | None, Meta(description="URL of a sound.")] = None
    audio_base64: Annotated[
        str | None, Meta(description="A sound in base64, or as a data URI. An addition.")
    ] = None


class IndexItem(InputFields, forbid_unknown_fields=True):
    """An item to index: exactly one of `image`, `image_base64`, `text`, `audio`, `audio_base64`."""

    metadata: OptionalMetadata = UNSET
    id: Annotated[
        str | None,
        Meta(
            description="An item of this id is replaced. Made if absent. An addition.",
            examples=["sku:SH-001"],
            extra_json_schema={"pattern": "^[A-Za-z0-9_.:-]{1,128}$"},
        ),
    ] = None


class IndexRequest(Struct, forbid_unknown_fields=True):
    """Items to index."""

    items: Annotated[
        list[IndexItem],
        Meta(min_length=1, extra_json_schema={"maxItems": 100}, description="1 to 100 items."),
    ]
    on_error: Annotated[
        OnError,
        Meta(
            description="`fail`: if any item fails, nothing is stored. `skip`: the others are. "
            "An addition."
        ),
    ] = OnError.FAIL


class DeleteItems(Struct, forbid_unknown_fields=True):
    """Items to delete."""

    ids: Annotated[
        list[str],
        Meta(
            min_length=1,
            extra_json_schema={"maxItems": 1000},
            description="1 to 1,000 item ids.",
            examples=[["item_abc123", "item_def456"]],
        ),
    ]


class Model(Struct):
    """An embedding model."""

    id: str
    name: str
    types: list[Modality]
    dimensions: int
    metric: Literal["COSINE"]
    description: Annotated[str, Meta(description="An addition.")]
    license: Annotated[str, Meta(description="An addition.")]
    default: Annotated[
        bool, Meta(description="Whether collections have it if they name none. An addition.")
    ]
    available: Annotated[bool, Meta(description="Whether its files are here. An addition.")]


class ModelList(Struct):
    models: list[Model]


class Collection(Struct):
    """A collection."""

    id: Annotated[str, Meta(examples=["col_7d4kq2m5xw3v6bna"])]
    name: str
    description: str | None
    model_id: Annotated[
        str | None, Meta(description="null where clients of another API bring their own vectors.")
    ]
    dimensions: int
    metric: MetricName
    item_count: Annotated[int, Meta(ge=0)]
    created_at: datetime
    updated_at: datetime


class CollectionPage(Struct):
    collections: list[Collection]
    total: Annotated[int, Meta(ge=0, description="How many there are in all.")]
    limit: int
    offset: int


class Deleted(Struct):
    id: str
    deleted: Literal[True] = True


class Usage(Struct):
    input_tokens: Tokens


class IndexedItem(Struct):
    id: str
    content_type: Modality


class SkippedItem(Struct):
    """Why an item was skipped; `index` is its place among the items sent."""

    index: int
    code: str
    message: str


class IndexAnswer(Struct):
    indexed: Annotated[int, Meta(ge=0, description="How many items were stored.")]
    model: str
    usage: Usage
    items: Annotated[
        list[IndexedItem | None],
        Meta(description="In the order sent, null where skipped. An addition."),
    ]
    errors: Annotated[list[SkippedItem], Meta(description="With `skip`. An addition.")]


class Item(Struct):
    id: Annotated[str, Meta(examples=["item_abc123"])]
    content_type: ContentType
    metadata: Metadata
    content_url: ContentUrl
    created_at: datetime
    text: Annotated[str | UnsetType, Meta(description="Of text items. An addition.")] = UNSET


class ItemPage(Struct):
    items: list[Item]
    total: Annotated[int, Meta(ge=0, description="How many there are in all.")]
    limit: int
    offset: int


class DeletedItems(Struct):
    deleted: Annotated[int, Meta(ge=0, description="How many of them existed.")]
