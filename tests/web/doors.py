"""Pages with doors, for the tests of access: made from configurations as people write them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gateway.clock import Clock
from gateway.config import load
from gateway.events import Events
from gateway.runtime.registry import protocols
from gateway.web.access.passwords import Hashed, hashed
from gateway.web.access.users import Role, User, Users
from gateway.web.server import WebServer, open_doors, serve
from gateway.web.sources import Sources
from web.browser import Browser, trusting
from web.plant import ManualClock, plant

PASSWORD = "a long sentence"
PLANT_NETWORK = '{listen: "0.0.0.0:0", login: required}'
THIS_MACHINE = '{listen: "127.0.0.1:0"}'


@cache
def of_password(password: str) -> Hashed:
    """Worked out once: it takes a while, which is what it is for."""
    return hashed(password)


@dataclass
class Site:
    """A page, and what it is made of."""

    server: WebServer
    folder: Path
    clock: ManualClock
    events: Events
    tls: bool

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def users(self) -> Users:
        return Users(self.data)

    def browser(self, **given: object) -> Browser:
        return Browser(self.server.port, trusting() if self.tls else None, **given)  # type: ignore[arg-type]

    async def browser_of(self, user: str) -> Browser:
        """Of somebody who is logged in, without the scrypt of it."""
        found = self.users.all()[user]
        browser = self.browser()
        token = self.server.doors.sessions.begin(user, found.role, found.password, self.clock.monotonic())
        browser.cookies["__Host-gateway" if self.tls else "gateway"] = token
        await browser.open()
        return browser


def add(data: Path, name: str, role: Role, password: str = PASSWORD) -> None:
    Users(data).put(User(name, role, of_password(password)))


@asynccontextmanager
async def site(
    folder: Path,
    web: str,
    *,
    users: bool = True,
    clock: Clock | None = None,
    env: dict[str, str] | None = None,
    sources: Sources | None = None,
) -> AsyncIterator[Site]:
    """The page of a configuration with this `web:`; with users anna (engineer) and victor (viewer)."""
    (folder / "gateway.yaml").write_text(f"version: 1\ngateway: {{id: edge-01, data_dir: data}}\nweb: {web}\n")
    configuration = load(folder / "gateway.yaml", protocols(), env=env or {})
    if users:
        add(folder / "data", "anna", "engineer")
        add(folder / "data", "victor", "viewer")
    settings = configuration.settings.web
    assert settings is not None
    time, events = clock or ManualClock(), Events()
    opening = open_doors(settings, folder, folder / "data", time, events)
    shown = sources or Sources(plant(), time, events)
    server = await serve(shown, settings.host, settings.port, interval=0.05, opening=opening)
    try:
        yield Site(server, folder, time, events, opening.tls is not None)  # type: ignore[arg-type]
    finally:
        await server.stop()
