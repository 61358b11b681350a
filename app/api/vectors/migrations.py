"""`/v1/vectors/collections/{id}/migrations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Controller, delete, get, post
from litestar.params import FromPath, JSONBody

from app.api.auth import Scope, requires
from app.api.context import engine_of
from app.api.inputs import check_text
from app.api.openapi import documented
from app.api.requests import ApiRequest
from app.api.vectors import examples
from app.api.vectors.collections import Limit, Offset
from app.api.vectors.migration_schemas import (
    Migration,
    MigrationFailure,
    MigrationFailurePage,
    MigrationPage,
    StartMigration,
)
from app.errors import InvalidInput

if TYPE_CHECKING:
    from app.domain.model_migrations import ModelMigration

UNKNOWN = {404: "The collection or the migration is unknown."}


class MigrationController(Controller):
    path = "/collections/{collection_id:str}/migrations"
    tags = ["Migrations"]

    @post(
        status_code=202,
        operation_id="startMigration",
        summary="Change the model of a collection",
        guards=[requires(Scope.WRITE)],
        opt=documented(
            request=examples.START_MIGRATION,
            answer=examples.MIGRATION,
            errors={
                404: "The collection or the model is unknown.",
                409: "The collection has that model, is changing its model already, or holds "
                "ready vectors.",
            },
            codes={409: "migration_running"},
        ),
    )
    async def start(
        self, request: ApiRequest, collection_id: FromPath[str], data: JSONBody[StartMigration]
    ) -> Migration:
        """Embed all items anew in the background, then search by the new model.

        Until then all goes on with the old one: searches, and writes, which are embedded by both.
        A model that takes no items of a kind that the collection holds is refused. An addition.
        """
        if violations := check_text(data.model_id, ("model_id",)):
            raise InvalidInput(violations)
        entry = await engine_of(request).migrations.start(
            request.auth.project_id, collection_id, data.model_id
        )
        return _migration(entry)

    @get(
        operation_id="listMigrations",
        summary="List the migrations of a collection",
        guards=[requires(Scope.READ)],
        opt=documented(answer=examples.MIGRATIONS, errors={404: "The collection is unknown."}),
    )
    async def list_page(
        self,
        request: ApiRequest,
        collection_id: FromPath[str],
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> MigrationPage:
        """Those under way and those that have ended, newest first. An addition."""
        page = await engine_of(request).migrations.list(
            request.auth.project_id, collection_id, limit=limit, offset=offset
        )
        return MigrationPage(
            [_migration(entry) for entry in page.entries], page.total, limit, offset
        )

    @get(
        "/{migration_id:str}",
        operation_id="getMigration",
        summary="See how far a migration has come",
        guards=[requires(Scope.READ)],
        opt=documented(answer=examples.MIGRATION, errors=UNKNOWN),
    )
    async def read(
        self, request: ApiRequest, collection_id: FromPath[str], migration_id: FromPath[str]
    ) -> Migration:
        """One migration. An addition."""
        entry = await engine_of(request).migrations.get(
            request.auth.project_id, collection_id, migration_id
        )
        return _migration(entry)

    @get(
        "/{migration_id:str}/failures",
        operation_id="listMigrationFailures",
        summary="List the items that a migration could not embed",
        guards=[requires(Scope.READ)],
        opt=documented(answer=examples.MIGRATION_FAILURES, errors=UNKNOWN),
    )
    async def list_failures(
        self,
        request: ApiRequest,
        collection_id: FromPath[str],
        migration_id: FromPath[str],
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> MigrationFailurePage:
        """They stay in the collection, and no search finds them until they are indexed again.

        Oldest first. An addition.
        """
        page = await engine_of(request).migrations.failures(
            request.auth.project_id, collection_id, migration_id, limit=limit, offset=offset
        )
        failures = [MigrationFailure(f.item_id, f.code, f.message) for f in page.entries]
        return MigrationFailurePage(failures, page.total, limit, offset)

    @delete(
        "/{migration_id:str}",
        status_code=200,
        operation_id="cancelMigration",
        summary="Cancel a migration",
        guards=[requires(Scope.WRITE)],
        opt=documented(
            answer=examples.CANCELED_MIGRATION,
            errors={**UNKNOWN, 409: "The migration has ended."},
            codes={409: "migration_ended"},
        ),
    )
    async def cancel(
        self, request: ApiRequest, collection_id: FromPath[str], migration_id: FromPath[str]
    ) -> Migration:
        """The collection stays as it is; what was embedded anew goes. An addition."""
        entry = await engine_of(request).migrations.cancel(
            request.auth.project_id, collection_id, migration_id
        )
        return _migration(entry)


def _migration(entry: ModelMigration) -> Migration:
    return Migration(
        id=entry.id,
        state=entry.state,
        from_model_id=entry.from_model_id,
        model_id=entry.model_id,
        total=entry.total,
        done=entry.done,
        failed=entry.failed,
        error=entry.error,
        created_at=entry.created_at,
        started_at=entry.started_at,
        updated_at=entry.updated_at,
        finished_at=entry.finished_at,
    )
