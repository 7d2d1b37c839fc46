"""What of a machine is reported, polled or missing, as long as one session lasts.

targets ─ resolve ─▶ nodes ─ read ─▶ values ─ monitor ─┬─▶ monitored items
            └ missing: looked for again                └─▶ polled: as configured, or as the server has no room
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from adapters.opcua import nodes
from adapters.opcua.items import Item
from adapters.opcua.nodes import NodeId, PathAddress
from adapters.opcua.session import Session
from adapters.opcua.targets import Target
from adapters.opcua.wire import Values, node_text
from gateway.errors import NotConnectedError
from gateway.model import NODE_UNKNOWN, is_bad, quality_text

_log = logging.getLogger(__name__)

NO_NODE = (NODE_UNKNOWN, 0x80330000)  # BadNodeIdUnknown, BadNodeIdInvalid
# BadMonitoredItemFilterInvalid, BadMonitoredItemFilterUnsupported, BadFilterNotAllowed, BadDeadbandFilterInvalid
_NO_FILTER = (0x80430000, 0x80440000, 0x80450000, 0x808E0000)
_NO_ROOM = (0x80DB0000, 0x80030000, 0x800A0000)  # BadTooManyMonitoredItems, BadOutOfMemory, BadTimeout of one item
_NO_SUBSCRIPTION = ("BadTooManySubscriptions", "BadServiceUnsupported")
_POLL = 1.0  # seconds, at the least, where something has to be polled that was to be reported
FIRST_REPORT = 10.0  # seconds until an item has to have been reported once, beside its intervals


class Watch:
    """Of one machine, in one session. Targets are named by their handle."""

    def __init__(self, machine: str, targets: Mapping[int, Target], publishing: float) -> None:
        """`publishing`: seconds between two notifications."""
        self.subscription = 0  # its id; 0: there is none
        self.nodes: dict[int, NodeId] = {}
        self.registered: dict[int, NodeId] = {}  # ids of what is polled that are cheaper to read by, in this session
        self.items: dict[int, int] = {}  # monitored items
        self.polled: dict[int, float] = {}  # with their periods in seconds
        self.single: set[int] = set()  # reported, and the server keeps but the newest value
        self.missing: set[int] = set()  # without a node, or refused
        self._machine, self._targets, self._publishing = machine, targets, publishing
        self._compared = False  # what the server revised was logged
        self._unheard: dict[int, float] = {}  # items that were never reported, and when (monotonic) they have to be

    def anew(self) -> Watch:
        """For another session."""
        watch = Watch(self._machine, self._targets, self._publishing)
        watch._compared = self._compared
        return watch

    @property
    def polls(self) -> Mapping[float, Sequence[int]]:
        """What is polled, by period."""
        periods: dict[float, list[int]] = defaultdict(list)
        for handle, period in self.polled.items():
            periods[period].append(handle)
        return periods

    # --- nodes and their values --------------------------------------------------------------------------------------

    async def look(self, session: Session, handles: Sequence[int]) -> tuple[Mapping[int, NodeId], Values]:
        """The nodes that are there, and what the server says of all it has been asked for."""
        found = await self._resolve(session, handles)
        self.nodes.update(found)
        for handle in found:  # it may be another node than the one that was registered
            self.registered.pop(handle, None)
        values = await self.read(session, list(found))
        there = {h: found[h] for h, s in zip(values.signal, values.status, strict=True) if s not in NO_NODE}
        self.missing.update(set(handles) - there.keys())
        self.missing.difference_update(there)
        return there, values

    async def read(self, session: Session, handles: Sequence[int]) -> Values:
        """Values as they are now."""
        values = await session.values([self.registered.get(handle) or self.nodes[handle] for handle in handles])
        values.signal = list(handles)
        return values

    async def _resolve(self, session: Session, handles: Iterable[int]) -> dict[int, NodeId]:
        """The nodes of this session, as far as they are known."""
        found: dict[int, NodeId | None] = {}
        paths: dict[int, tuple[tuple[int, str], ...]] = {}
        for handle in handles:
            address = self._targets[handle].address
            if not isinstance(address, PathAddress):
                found[handle] = nodes.resolve(address, session.uris)
            elif path := nodes.resolve_path(address, session.uris):
                paths[handle] = path
        if paths:
            found.update(zip(paths, await session.follow(list(paths.values())), strict=True))
        return {handle: node for handle, node in found.items() if node is not None}

    # --- reported, or polled -----------------------------------------------------------------------------------------

    async def monitor(self, session: Session, values: Values, handles: Sequence[int]) -> None:
        """Have targets reported, or polled, whose nodes are there. What the server refuses is put into `values`."""
        there = [handle for handle in handles if handle not in self.missing]
        reported = [handle for handle in there if self._targets[handle].poll is None]
        items = []
        if reported and await self._subscribed(session):
            if old := [id for handle in reported if (id := self.items.pop(handle, 0))]:
                await session.forget(self.subscription, old)
            items = [self._item(handle) for handle in reported]
            await self._make(session, items)
        row_of = {handle: row for row, handle in enumerate(values.signal)}
        for item in items:
            if item.status in _NO_ROOM:
                continue
            if is_bad(item.status):
                self.missing.add(item.handle)
                row = row_of[item.handle]
                values.type[row], values.value[row], values.status[row] = 0, None, item.status
            else:
                self.items[item.handle] = item.id
                (self.single.add if item.revised_queue == 1 else self.single.discard)(item.handle)
                self._unheard[item.handle] = (
                    session.monotonic() + FIRST_REPORT + 3 * max(item.sampling, self._publishing)
                )
        await self._poll(session, [h for h in there if h not in self.items and h not in self.missing])

    def excuse(self, session: Session) -> None:
        """While the line was lost nothing could be reported."""
        due = session.monotonic() + FIRST_REPORT
        self._unheard = {handle: max(due, each) for handle, each in self._unheard.items()}

    def heard(self, handles: Iterable[int]) -> None:
        """They were reported."""
        if self._unheard:
            for handle in handles:
                self._unheard.pop(handle, None)

    async def give_up(self, session: Session) -> bool:
        """Poll what was made and never reported. Whether there was any.

        Every item begins with its value (Part 4, 5.13.1), but some servers make more than they can bear, with status Good.
        """
        if not self._unheard or min(self._unheard.values()) > (now := session.monotonic()):
            return False
        silent = [handle for handle, due in self._unheard.items() if due <= now]
        for handle in silent:
            del self._unheard[handle]
        silent = [handle for handle in silent if handle in self.items and handle not in self.missing]
        if silent:
            _log.warning(
                "%s: the server has made %d monitored items that it never reports, which are polled, such as %s",
                self._machine, len(silent), node_text(self.nodes[silent[0]]),
            )  # fmt: skip
            await session.forget(self.subscription, [self.items.pop(handle) for handle in silent])
            await self._poll(session, silent)
        return bool(silent)

    async def _subscribed(self, session: Session) -> bool:
        """Whether there is a subscription; without one, where the server has none left, everything is polled."""
        if not self.subscription:
            try:
                self.subscription = await session.subscribe(self._publishing)
            except NotConnectedError as exc:
                if type(exc.__cause__).__name__ not in _NO_SUBSCRIPTION:
                    raise
                _log.warning("%s: no subscription can be had, its signals are polled: %s", self._machine, exc)
        return bool(self.subscription)

    async def _make(self, session: Session, items: Sequence[Item]) -> None:
        """Monitored items, without a filter where the server has none."""
        await session.monitor(self.subscription, items)
        if without := [item for item in items if item.deadband and item.status in _NO_FILTER]:
            _log.info("%s: the server has no deadband for %s; ours remains", self._machine, _names(without))
            for item in without:
                item.deadband = None
            await session.monitor(self.subscription, without)
        if crowded := [item for item in items if item.status in _NO_ROOM]:
            _log.warning(
                "%s: the server has no room for %d more monitored items, which are polled: %s",
                self._machine, len(crowded), _names(crowded),
            )  # fmt: skip
        self._compare(items)

    async def _poll(self, session: Session, handles: Sequence[int]) -> None:
        """Have these read in turn, from now on."""
        if not handles:
            return
        await self.register(session, handles)
        for handle in handles:
            target = self._targets[handle]
            self.polled[handle] = target.poll or max(target.sampling, _POLL)

    async def register(self, session: Session, handles: Sequence[int]) -> None:
        """Have ids for these that are cheap for the server (Part 4, 5.8.5)."""
        registered = await session.registered([self.nodes[handle] for handle in handles])
        self.registered.update(zip(handles, registered, strict=True))

    def _item(self, handle: int) -> Item:
        target = self._targets[handle]
        return Item(handle, self.nodes[handle], target.sampling, target.queue, target.discard_oldest, target.deadband)

    def _compare(self, items: Iterable[Item]) -> None:
        """Say where the server samples slower or keeps less than it should: values between will be missing."""
        short = [i for i in items if i.id and (0 < i.revised_queue < i.queue or i.revised_sampling > 1.01 * i.sampling)]
        if short and not self._compared:
            self._compared = True
            item, said = short[0], []
            if item.revised_sampling > 1.01 * item.sampling:
                said.append(f"sampled every {item.revised_sampling * 1000:g} ms instead of {item.sampling * 1000:g} ms")
            if 0 < item.revised_queue < item.queue:
                said.append(f"{item.revised_queue} values instead of {item.queue} are kept")
            _log.info(
                "%s: the server gives %d signals less than was asked for, e.g. %s: %s",
                self._machine, len(short), _names([item]), ", ".join(said),
            )  # fmt: skip

    # --- events ------------------------------------------------------------------------------------------------------

    async def events(self, session: Session, handles: Iterable[int]) -> None:
        """Have the events of these objects reported, and the conditions that hold now."""
        wanted = list(handles)
        found = await self._resolve(session, wanted)
        self.nodes.update(found)
        for handle, node in found.items():
            target, item = self._targets[handle], Item(handle, node, 0.0, self._targets[handle].queue)
            if await self._subscribed(session):
                await session.monitor_events(self.subscription, item, target.severity or 1)
            if item.id and not is_bad(item.status):
                self.items[handle] = item.id
            elif handle not in self.missing:
                _log.warning("%s: %s reports no events (%s)", self._machine, node_text(node), quality_text(item.status))
        if unknown := [handle for handle in wanted if handle not in found and handle not in self.missing]:
            _log.warning("%s: the server does not have %d objects whose events are wanted", self._machine, len(unknown))
        self.missing.update(handle for handle in wanted if handle not in self.items)
        self.missing.difference_update(handle for handle in wanted if handle in self.items)
        if found and self.subscription:
            await session.refresh_conditions(self.subscription)


def _names(items: Sequence[Item]) -> str:
    """For people: the first one of them."""
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    return node_text(items[0].node) + more
