"""`/v1/vectors/models`."""

from __future__ import annotations

from litestar import Controller, get

from app.api.auth import Scope, requires
from app.api.context import engine_of, settings_of
from app.api.openapi import documented
from app.api.requests import ApiRequest
from app.api.vectors import examples
from app.api.vectors.schemas import Model, ModelList


class ModelController(Controller):
    path = "/models"
    tags = ["Models"]

    @get(
        operation_id="listModels",
        summary="List the embedding models",
        guards=[requires(Scope.READ)],
        opt=documented(answer=examples.MODELS),
    )
    async def list_models(self, request: ApiRequest) -> ModelList:
        """The models that a collection can be created with."""
        engine = engine_of(request)
        default = settings_of(request).models.default
        return ModelList(
            [
                Model(
                    id=card.id,
                    name=card.name,
                    types=list(card.types),
                    dimensions=card.dimensions,
                    metric="COSINE",
                    description=card.description,
                    license=card.license,
                    default=card.id == default,
                    available=engine.model_available(card.id),
                )
                for card in engine.models()
            ]
        )
