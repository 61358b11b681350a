"""Examples of the documentation."""

from __future__ import annotations

from typing import Any, Final

Example = dict[str, Any]

CREATE: Final[Example] = {
    "config": {"dimensions": 768, "metric": "cosine"},
    "name": "example-index",
    "description": "This is my example index.",
}
INDEX: Final[Example] = {
    "name": "example-index",
    "config": {"dimensions": 768, "metric": "cosine"},
    "created_on": "2026-11-21T09:00:00.442097Z",
    "modified_on": "2026-11-21T09:00:00.442097Z",
    "description": "This is my example index.",
}
MUTATION: Final[Example] = {"mutationId": "019aa5f2-58cc-7a3e-9d0c-6f0a4c1f4b5e"}
INFO: Final[Example] = {
    "dimensions": 768,
    "vectorCount": 2,
    "processedUpToDatetime": "2026-11-21T09:00:01.442097Z",
    "processedUpToMutation": "019aa5f2-58cc-7a3e-9d0c-6f0a4c1f4b5e",
}
VECTOR: Final[Example] = {
    "id": "shoe-1",
    "values": [0.5, 0.25, 0.125],
    "metadata": {"category": "footwear"},
    "namespace": "shop",
}
QUERY: Final[Example] = {
    "vector": [0.5, 0.25, 0.125],
    "topK": 5,
    "filter": {"category": "footwear"},
    "returnMetadata": "all",
}
MATCHES: Final[Example] = {
    "count": 1,
    "matches": [
        {
            "id": "shoe-1",
            "score": 1.0,
            "metadata": {"category": "footwear"},
            "namespace": "shop",
        }
    ],
}
IDS: Final[Example] = {"ids": ["shoe-1", "shoe-2"]}
LIST: Final[Example] = {
    "count": 1,
    "isTruncated": False,
    "totalCount": 1,
    "vectors": [{"id": "shoe-1"}],
    "nextCursor": None,
    "cursorExpirationTimestamp": None,
}
METADATA_INDEX: Final[Example] = {"propertyName": "category", "indexType": "string"}
VECTORS: Final = (
    '{"id": "shoe-1", "values": [0.5, 0.25, 0.125], "metadata": {"category": "footwear"}}\n'
    '{"id": "shoe-2", "values": [0.1, 0.2, 0.3], "namespace": "shop"}\n'
)


def envelope(result: Any) -> Example:
    return {"result": result, "success": True, "errors": [], "messages": []}
