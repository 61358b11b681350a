"""The one place where the database's errors become ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import exc

from app.errors import InvalidInput, NotFound, OmnivecError, ReadyVectors, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.domain.collections import Collection

_UNREACHABLE = (
    OSError,  # TimeoutError among them
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # closed connection, closing pool
    asyncpg.InternalClientError,  # a connection that dies between two of the driver's states
    asyncpg.OperatorInterventionError,  # shutdown, cancelled statement, still starting
    asyncpg.InsufficientResourcesError,  # connections, memory, disk
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TransactionRollbackError,  # deadlock, serialisation
    asyncpg.ObjectNotInPrerequisiteStateError,  # locks; a database closed to connections
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby after a failover
    asyncpg.PostgresSystemError,
    asyncpg.InvalidCachedStatementError,  # a migration went by
    exc.TimeoutError,
)
READY_VECTOR = "OV001"  # raised by our own trigger remember_written
NOT_DURING_MIGRATION = "no ready vectors are taken while the collection changes its model"

_UNSTORABLE = (
    asyncpg.DataError,  # NUL, lone surrogates, not JSON, not finite; codecs' refusals too
    UnicodeEncodeError,
)


@contextmanager
def translated(collection: Collection | None = None) -> Iterator[None]:
    """Raise the domain's errors for what goes wrong inside.

    `collection` is the one whose partitions the statements name: where they are gone, it is.
    """
    try:
        yield
    except OmnivecError:
        raise
    except (
        OSError,
        UnicodeEncodeError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        exc.SQLAlchemyError,
    ) as error:
        raise _translate(error, collection) from error


def _translate(error: BaseException, collection: Collection | None) -> OmnivecError:
    cause = _driver_error(error)
    match cause:
        case asyncpg.UndefinedTableError() if collection is not None:
            return NotFound("collection", collection.id)
        case asyncpg.PostgresError(sqlstate=state) if state == READY_VECTOR:
            return ReadyVectors(NOT_DURING_MIGRATION)
        # A refusal of an argument is both an InterfaceError and a ValueError.
        case _ if isinstance(cause, _UNSTORABLE) or (
            isinstance(cause, asyncpg.InterfaceError) and isinstance(cause, ValueError)
        ):
            return InvalidInput.at((), f"the database cannot store this: {cause}")
        case _ if isinstance(cause, _UNREACHABLE) or (
            isinstance(error, exc.DBAPIError) and error.connection_invalidated
        ):
            reason = str(cause) or type(cause).__name__
            return Unavailable("database", f"the database is not available: {reason}")
    return OmnivecError(f"the database refused a statement: {cause}")


def _driver_error(error: BaseException) -> BaseException:
    """The driver's own exception below SQLAlchemy's wrappers."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error
