"""Who calls, by either of Cloudflare's schemes, and in which project: the account is one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.api.auth import ANYONE, bearer, let_in
from app.api.vectorize.codes import Code, VectorizeError
from app.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

    from app.api.auth import Gate, Scope

    Connection = ASGIConnection[Any, Any, Any, Any]

_ACCOUNT = re.compile(r"[A-Za-z0-9_.:-]{1,32}")


def may(scope: Scope) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """Guard a handler: let through who has `scope` in the account of the path.

    A key acts in its own project only, whether the path names it or, as bindings do, none. Where
    no key is needed, the account chooses the project.
    """

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        gate: Gate = connection.app.state.gate
        principal = await gate.admit(connection, _secret)
        account = connection.path_params.get("account_id", principal.project_id)
        if principal is ANYONE and _ACCOUNT.fullmatch(account):
            principal = replace(ANYONE, project_id=account)
        elif principal.project_id != account:
            raise VectorizeError(Code.WRONG_ACCOUNT, f"no access to account {account!r}")
        try:
            let_in(connection, principal, scope)
        except Forbidden as error:
            raise VectorizeError(Code.LACKING_PERMISSION, error.message) from None

    return guard


def _secret(headers: Mapping[str, str]) -> str | None:
    """`Authorization: Bearer`, or `X-Auth-Key` beside `X-Auth-Email`."""
    if secret := bearer(headers):
        return secret
    return headers.get("x-auth-key") or None if headers.get("x-auth-email") else None
