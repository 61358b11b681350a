"""Examples of the documentation: those of the published contract, completed."""

from __future__ import annotations

from typing import Any, Final

Example = dict[str, Any]

MODELS: Final[Example] = {
    "models": [
        {
            "id": "multimodal-embedding-v1",
            "name": "Multimodal Embedding v1",
            "types": ["image", "text", "audio"],
            "dimensions": 1024,
            "metric": "COSINE",
            "description": "Images, texts and sounds in one space.",
            "license": "Apache-2.0",
            "default": True,
            "available": True,
        }
    ]
}

CREATE_COLLECTION: Final[Example] = {
    "name": "product-images",
    "description": "Product catalog for visual search",
    "model_id": "multimodal-embedding-v1",
}

UPDATE_COLLECTION: Final[Example] = {"description": "Everything that is on sale"}

COLLECTION: Final[Example] = {
    "id": "col_7d4kq2m5xw3v6bnahj5ztr4c",
    "name": "product-images",
    "description": "Product catalog for visual search",
    "model_id": "multimodal-embedding-v1",
    "dimensions": 1024,
    "metric": "COSINE",
    "item_count": 2,
    "created_at": "2026-11-21T09:00:00.123456Z",
    "updated_at": "2026-11-21T09:00:00.123456Z",
}

COLLECTIONS: Final[Example] = {
    "collections": [COLLECTION],
    "total": 1,
    "limit": 20,
    "offset": 0,
}

DELETED: Final[Example] = {"id": "col_7d4kq2m5xw3v6bnahj5ztr4c", "deleted": True}

INDEX: Final[Example] = {
    "items": [
        {
            "image": "https://example.com/shoe.jpg",
            "metadata": {"category": "footwear", "sku": "SH-001"},
        },
        {
            "text": "Red leather running shoes with white soles",
            "metadata": {"category": "footwear", "sku": "SH-002"},
        },
    ]
}

INDEXED: Final[Example] = {
    "indexed": 2,
    "model": "multimodal-embedding-v1",
    "usage": {"input_tokens": 1250},
    "items": [
        {"id": "item_abc123", "content_type": "image"},
        {"id": "item_def456", "content_type": "text"},
    ],
    "errors": [],
}

ITEM: Final[Example] = {
    "id": "item_abc123",
    "content_type": "image",
    "metadata": {"category": "footwear", "sku": "SH-001"},
    "content_url": "https://storage.visowork.com/...",
    "created_at": "2026-11-21T09:00:00.123456Z",
}

ITEMS: Final[Example] = {"items": [ITEM], "total": 1, "limit": 20, "offset": 0}

DELETE_ITEMS: Final[Example] = {"ids": ["item_abc123", "item_def456"]}

DELETED_ITEMS: Final[Example] = {"deleted": 2}

SEARCH: Final[Example] = {"text": "white running shoes", "top_k": 5, "threshold": 0.5}

FOUND: Final[Example] = {
    "results": [
        {
            "id": "item_abc123",
            "score": 0.952,
            "content_type": "image",
            "metadata": {"category": "footwear", "sku": "SH-001"},
            "content_url": "https://storage.visowork.com/...",
            "similarity": 0.412,
        },
        {
            "id": "item_def456",
            "score": 0.871,
            "content_type": "text",
            "metadata": {"category": "footwear", "sku": "SH-002"},
            "content_url": None,
            "similarity": 0.365,
            "text": "Red leather running shoes with white soles",
        },
        {
            "id": "item_ghi789",
            "score": 0.614,
            "content_type": "audio",
            "metadata": {"category": "advertisement"},
            "content_url": "https://storage.visowork.com/...",
            "similarity": 0.154,
            "segment": {"start": 12.0, "end": 14.88},
        },
    ],
    "model": "multimodal-embedding-v1",
    "usage": {"input_tokens": 50},
}

START_MIGRATION: Final[Example] = {"model_id": "PE-Core-B-16"}

MIGRATION: Final[Example] = {
    "id": "mig_2c7xk4w9q5m3v6bnahj5ztrd",
    "state": "embedding",
    "from_model_id": "multimodal-embedding-v1",
    "model_id": "PE-Core-B-16",
    "total": 12000,
    "done": 4096,
    "failed": 1,
    "error": None,
    "created_at": "2026-11-21T09:00:00.123456Z",
    "started_at": "2026-11-21T09:00:00.234567Z",
    "updated_at": "2026-11-21T09:03:20.345678Z",
    "finished_at": None,
}

MIGRATIONS: Final[Example] = {"migrations": [MIGRATION], "total": 1, "limit": 20, "offset": 0}

CANCELED_MIGRATION: Final[Example] = {
    **MIGRATION,
    "state": "canceled",
    "finished_at": "2026-11-21T09:03:21.456789Z",
}

MIGRATION_FAILURES: Final[Example] = {
    "failures": [
        {
            "id": "item_abc123",
            "code": "corrupt_media",
            "message": "the image is cut off",
        }
    ],
    "total": 1,
    "limit": 20,
    "offset": 0,
}
