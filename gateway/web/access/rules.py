"""What each request needs: nothing, a viewer, or an engineer. What is in no table needs the most."""

from __future__ import annotations

from gateway.web.access.users import Role
from gateway.web.openapi import endpoint_of

# The document and its files have nothing of the plant in them; without them nobody could log in.
PAGES = frozenset({"/", "/flow", "/kpi", "/config", "/events", "/login", "/favicon.ico"})
FOLDERS_OF_PAGES = ("/static/", "/machines/")

# For programs that have a token instead of a user.
WITH_TOKEN = frozenset({"/metrics", "/readyz"})

# What goes into the audit, by path.
NOTED = {
    "/api/v1/config/reload": "reload",
    "/api/v1/config/rollback": "rollback",
    "/api/v1/config/check": "config check",
}

READING = frozenset({"GET", "HEAD"})


def role_needed(method: str, path: str) -> Role | None:
    """The role this request needs; None: none."""
    if method in READING and (path in PAGES or path.startswith(FOLDERS_OF_PAGES)):
        return None
    endpoint = endpoint_of(method, path)
    if endpoint is None:
        return "viewer" if method in READING else "engineer"
    if endpoint.role == "anyone":
        return None
    return endpoint.role if method in READING else "engineer"


def may(role: Role | None, needed: Role | None) -> bool:
    """Whether somebody of this role may do what needs that one."""
    return needed is None or role == "engineer" or role == needed
