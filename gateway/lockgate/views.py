"""Sessions, accounts, clients and routes as JSON, the same for `/admin`, `/auth/sessions` and the command line.

No view shows a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockgate.edge.path import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lockgate.accounts.clients import Client
    from lockgate.accounts.users import AccountRecord
    from lockgate.policy.conditions import Conditions
    from lockgate.policy.route import Route
    from lockgate.sessions.overview import SessionView


def session_json(view: SessionView, current: str | None = None) -> dict[str, Any]:
    """A session as it is shown; `current` is the id of the session that makes the call."""
    return {
        "session_id": view.session_id,
        "created": int(view.created),
        "last_used": int(view.last_used),
        "ends": int(view.ends),
        "client_id": view.client_id,
        "address": view.address,
        "device": view.agent,
        **({"current": view.session_id == current} if current is not None else {}),
    }


def account_json(account: AccountRecord) -> dict[str, Any]:
    """An account as it is shown."""
    return {
        "sub": account.sub,
        "username": account.username,
        "roles": list(account.roles),
        "status": account.status,
    }


def client_json(client: Client) -> dict[str, Any]:
    """An OAuth client as it is shown."""
    return {"client_id": client.client_id, "scopes": sorted(client.scopes), "created": int(client.created)}


def route_json(route: Route, upstreams: Mapping[str, str]) -> dict[str, Any]:
    """A route as it is shown; `upstreams` has each state by its address, `unknown` where there is none."""
    return {
        "name": route.name,
        "hosts": list(route.hosts),
        "prefix": route.prefix,
        "prefix_at_service": route.prefix if route.rewrite is None else route.rewrite.target or ROOT,
        "service": route.service,
        "auth": route.auth,
        "methods": {method: sorted(demand.scopes) for method, demand in route.demands.items()},
        "conditions": _conditions_json(next(iter(route.demands.values())).conditions),
        "upstreams": [{"url": url, "state": upstreams.get(url, "unknown")} for url in route.upstreams],
    }


def _conditions_json(conditions: Conditions | None) -> dict[str, Any]:
    """The conditions of a route, which are the same for all methods."""
    if conditions is None:
        return {}
    owner = conditions.owner
    content = {
        "roles": sorted(conditions.roles),
        "amr": sorted(conditions.amr),
        "max_auth_age_s": conditions.max_auth_age_s,
        "email_verified": conditions.email_verified,
        "owner": owner and str(owner),
    }
    return {name: value for name, value in content.items() if value}
