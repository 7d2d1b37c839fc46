"""The only file that imports asyncua: its client, with our names, our types and our way to read values.

asyncua brings transport, channel and services. Not used are its reconnecting, which keeps namespace indexes that have
moved; its publish loop, which makes a task of every value or drops what is too much; and its decoding of values, which
takes ten times as long, and loses a whole notification over one value that it cannot read.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from struct import error as StructError
from typing import Any
from uuid import UUID

import asyncua.ua
from asyncua.client.client import Client as AsyncuaClient
from asyncua.client.ua_client import UaClient, UaClientState, UASocketProtocol
from asyncua.client.ua_session import UaSession
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.node import Node
from asyncua.common.ua_utils import data_type_to_variant_type
from asyncua.common.utils import Buffer, create_nonce
from asyncua.crypto import security_policies
from asyncua.ua.ua_binary import Primitives1, struct_from_binary, struct_to_binary

from adapters.opcua import events, wire
from adapters.opcua.browsing import (
    Attribute,
    Browsed,
    EngineeringUnit,
    EnumDefinition,
    EnumValue,
    Field,
    QualifiedName,
    Range,
    Reference,
    Structure,
    StructureDefinition,
    Text,
)
from adapters.opcua.config import OpcuaConnection
from adapters.opcua.explain import Step, refusal
from adapters.opcua.framing import LEAST_BUFFER, MOST, Frames
from adapters.opcua.history import Asked
from adapters.opcua.items import TOO_MUCH, Deadband, Item
from adapters.opcua.nodes import Kind, NodeId
from adapters.opcua.overheard import Overheard
from adapters.opcua.security.certificates import CertificateError, chain
from adapters.opcua.security.choice import Endpoint, Login, Token, login_of, stronger, token_of
from adapters.opcua.security.own import KeyPair, uri_of
from adapters.opcua.security.secure import Offer, Protection
from adapters.opcua.units import Unit, ucum
from gateway.errors import NotConnectedError

ua: Any = asyncua.ua  # the types it declares are not those it takes
_policies: Any = security_policies  # that declare none

CHANNEL_LIFETIME = 600.0  # seconds asked for; the server may give less

_log = logging.getLogger(__name__)
_chatty = logging.getLogger("asyncua")
if _chatty.level == logging.NOTSET:
    _chatty.setLevel(logging.CRITICAL + 1)  # it logs what it raises as well, with a trace

_VALUE = ua.AttributeIds.Value
_STATE = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)

Path = Sequence[tuple[int, str]]
"""Browse names with the indexes of their namespaces."""


class Client:
    """One line to a server and one session on it. Raises whatever asyncua and the system raise; `Session` translates."""

    def __init__(self, connection: OpcuaConnection, application: str, overheard: Overheard | None = None) -> None:
        """`application` is the name the server sees; `overheard` is told of the services of the session."""
        self._connection = connection
        self._client = client = _Client(connection.url, timeout=connection.timeout)
        client.name = client.description = application
        self._uri = client.application_uri = uri_of(application.partition(" ")[0])
        client.product_uri = "urn:shopfloor-gateway"
        client.session_timeout = int(connection.session_timeout * 1000)
        client.secure_channel_timeout = int(CHANNEL_LIFETIME * 1000)
        self._session = client.uaclient.session = _Session(client.uaclient)
        self._session.overheard = overheard
        self._highest: dict[int, int] = {}  # client handle of each subscription
        self._strangers = False  # values of others have come, and that was said

    # --- line and session ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return bool(self._client.state is not UaClientState.DISCONNECTED)

    @property
    def has_session(self) -> bool:
        """Whether the server has a session of ours, as far as we know."""
        return self._client.uaclient.has_session

    @property
    def security(self) -> str:
        """How the line is protected, as it would be written in the configuration."""
        protection = self._client.protection
        return protection.endpoint.security if protection else "None"

    async def endpoints(self) -> Offer:
        """What the server offers to whoever asks, on a line of its own."""
        before, request = self._client.protection, ua.GetEndpointsRequest()
        request.Parameters.EndpointUrl = self._connection.url
        self.protect(None)
        try:
            await self.dial()
            answer = await self._client.uaclient._send_request(request)
            _fits(request, answer)
            response = struct_from_binary(ua.GetEndpointsResponse, answer)
            with suppress(Exception):
                await self._client.close_secure_channel()
        finally:
            self.hang_up()
            self.protect(before)
        response.ResponseHeader.ServiceResult.check()
        return Offer([_endpoint(each) for each in response.Endpoints or ()], _ahead(response.ResponseHeader.Timestamp))

    def protect(self, protection: Protection | None) -> None:
        """How the next line is protected; not at all, if it is not told."""
        self._client.protection = protection
        self._client.application_uri = protection.own.uri if protection else self._uri

    async def dial(self) -> None:
        """Open a line and a channel on it."""
        await self._greet()
        with self._refusals("channel"):
            await self._client.open_secure_channel()

    async def redial(self) -> None:
        """Open another line for the same session. A channel that is refused shows when the session is taken over.

        Also one that is not answered: the server has said hello, but may have started with another certificate.
        """
        await self._greet()
        try:
            await self._client.open_secure_channel()
        except Exception as exc:
            _log.debug("%s: no channel for the session there was: %r", self._connection.url, exc)
            self.hang_up()

    async def _greet(self) -> None:
        self._client.apply()
        await self._client.uaclient.connect_socket(self._connection.host, self._connection.port)
        try:
            await self._client.send_hello()
        except TimeoutError as exc:
            raise NotConnectedError(
                "no answer in time, although somebody takes the connection: is this the port of the OPC UA server? "
                "Allow more with `timeout:`",
                fault="opcua-endpoint-unknown",
            ) from exc
        except ConnectionError as exc:
            raise NotConnectedError(
                "whoever takes the connection there breaks it off at once: is this the port of the OPC UA server?",
                fault="opcua-endpoint-unknown",
            ) from exc

    async def log_in(self) -> None:
        """Begin a session."""
        with self._refusals("session"):
            await self._client.create_session()
        await self._activate()

    async def take_over(self) -> None:
        """Go on with the session that was begun over another line."""
        self._session.rebind_authentication_token()
        await self._activate()

    async def _activate(self) -> None:
        password, protection = self._connection.password, self._client.protection
        login = protection.login if protection else login_of(self._connection)
        with self._refusals("login"):
            await self._client.activate(
                login,
                self._connection.user,
                password.value if password else None,
                protection.user if protection else None,
            )

    @contextmanager
    def _refusals(self, step: Step) -> Iterator[None]:
        """Where certificates are a likely reason, say which, and what to do with them."""
        try:
            yield
        except NotConnectedError:
            raise
        except Exception as exc:
            protection = self._client.protection
            if protection and (text := refusal(exc, step, protection.own, protection.user, protection.clock_ahead)):
                raise NotConnectedError(text) from exc
            raise

    async def log_out(self) -> None:
        """Close the session with its subscriptions, and the channel."""
        await self._client.uaclient.close_session(True)
        await self._client.close_secure_channel()

    def hang_up(self) -> None:
        """Close the line, whatever may be on it."""
        self._client.disconnect_socket()

    @property
    def channel_lifetime(self) -> float:
        """Seconds, as the server gave it."""
        return float(self._client.secure_channel_timeout) / 1000

    async def renew_channel(self) -> None:
        """Give the channel another lifetime."""
        await self._client.open_secure_channel(renew=True)
        self._client.uaclient.revolve_security_token()

    # --- reading ---------------------------------------------------------------------------------------------------

    async def values(self, nodes: Sequence[NodeId]) -> wire.Values:
        """The values as they are now."""
        return await self._session.values([_node_id(node) for node in nodes])

    async def python_values(self, nodes: Sequence[NodeId]) -> list[Any]:
        """The same as asyncua's objects, for arrays and structures; None where one cannot be read."""
        return await self._attributes(nodes, _VALUE)

    async def data_types(self, nodes: Sequence[NodeId]) -> list[int]:
        """The built-in or abstract type (i=1 to i=29) each variable is declared with; 0 where there is none."""
        declared = await self._attributes(nodes, ua.AttributeIds.DataType)
        known: dict[Any, int] = {}
        for data_type in declared:
            if isinstance(data_type, ua.NodeId) and data_type not in known:
                known[data_type] = await self._built_in(data_type)
        return [known.get(data_type, 0) for data_type in declared]

    async def _built_in(self, data_type: Any) -> int:
        if data_type.NamespaceIndex == 0 and isinstance(data_type.Identifier, int) and data_type.Identifier <= 29:
            return int(data_type.Identifier)
        with suppress(ua.UaError, ValueError):
            return int((await data_type_to_variant_type(Node(self._session, data_type))).value)
        return 0

    async def properties(self, name: str, nodes: Sequence[NodeId]) -> list[NodeId | None]:
        """One property of each node (Part 3, 4.4.2); None where it has none."""
        return await self._translate([_path(_node_id(node), [(0, name)], ua.ObjectIds.HasProperty) for node in nodes])

    async def follow(self, paths: Sequence[Path]) -> list[NodeId | None]:
        """Where browse names lead to from the folder Objects; None where they lead nowhere."""
        start = ua.NodeId(ua.ObjectIds.ObjectsFolder)
        return await self._translate([_path(start, path, ua.ObjectIds.HierarchicalReferences) for path in paths])

    async def _translate(self, paths: Sequence[Any]) -> list[NodeId | None]:
        found = await self._session.translate_browsepaths_to_nodeids(list(paths))
        targets = [path.Targets[0].TargetId if path.StatusCode.is_good() and path.Targets else None for path in found]
        return [_our_node_id(target) if target else None for target in targets]

    async def registered(self, nodes: Sequence[NodeId]) -> list[NodeId]:
        """Ids for the same nodes that are cheaper to read by, valid in this session (Part 4, 5.8.5)."""
        return [_our_node_id(id) for id in await self._session.register_nodes([_node_id(node) for node in nodes])]

    async def ping(self, timeout: float) -> None:
        """See whether the server still answers: its State (Part 5, 6.3.9)."""
        request = ua.ReadRequest()
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=_STATE, AttributeId=_VALUE)]
        await self._session._send_request(request, timeout)

    async def _attributes(self, nodes: Sequence[NodeId], attribute: Any) -> list[Any]:
        found = await self._session.read_attributes([_node_id(node) for node in nodes], attribute)
        return [data.Value.Value if data.Value and not _status(data.StatusCode) >> 31 else None for data in found]

    # --- browsing --------------------------------------------------------------------------------------------------

    async def browse(self, nodes: Sequence[NodeId], most: int, uris: Sequence[str], inverse: bool) -> list[Browsed]:
        """What nodes lead to by hierarchical references, at most `most` of each (0: all) at a time (Part 4, 5.8.2)."""
        wanted = [
            ua.BrowseDescription(
                NodeId=_node_id(node),
                BrowseDirection=ua.BrowseDirection.Inverse if inverse else ua.BrowseDirection.Forward,
                ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences),
                IncludeSubtypes=True,
                NodeClassMask=0,
                ResultMask=ua.BrowseResultMask.All,
            )
            for node in nodes
        ]
        parameters = ua.BrowseParameters(RequestedMaxReferencesPerNode=most, NodesToBrowse=wanted)
        with _decoding():
            return [_browsed(result, uris) for result in await self._session.browse(parameters)]

    async def browse_next(self, points: Sequence[bytes], uris: Sequence[str], release: bool) -> list[Browsed]:
        """What comes after these continuation points (Part 4, 5.8.3); with `release` nothing, and they are given up."""
        parameters = ua.BrowseNextParameters(ReleaseContinuationPoints=release, ContinuationPoints=list(points))
        with _decoding():
            return [_browsed(result, uris) for result in await self._session.browse_next(parameters)]

    async def look(self, wanted: Sequence[tuple[NodeId, int]]) -> list[Attribute]:
        """Any attributes of any nodes, of all types (Part 4, 5.10.2). Raises ValueError where one cannot be decoded."""
        request = ua.ReadParameters(
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            NodesToRead=[ua.ReadValueId(NodeId=_node_id(node), AttributeId=attribute) for node, attribute in wanted],
        )
        with _decoding():
            return [_attribute(data) for data in await self._session.read(request)]

    # --- types -----------------------------------------------------------------------------------------------------

    async def attribute(self, attribute: int, nodes: Sequence[NodeId]) -> list[Any]:
        """One attribute of each node, as `wire` decodes it; of DataType the node id. None where it has none."""
        values = await self._session.values([_node_id(node) for node in nodes], attribute)
        column = [None if status >> 31 else value for value, status in zip(values.value, values.status, strict=True)]
        if attribute == ua.AttributeIds.DataType:
            return [wire.node_of(text) if isinstance(text, str) else None for text in column]
        return column

    async def references(self, type: int, inverse: bool, nodes: Sequence[NodeId]) -> list[list[tuple[NodeId, str]]]:
        """Where references of exactly this type of the standard lead, with the browse name there."""
        wanted = [
            ua.BrowseDescription(
                NodeId=_node_id(node),
                BrowseDirection=ua.BrowseDirection.Inverse if inverse else ua.BrowseDirection.Forward,
                ReferenceTypeId=ua.NodeId(type),
                IncludeSubtypes=False,
                NodeClassMask=0,
                ResultMask=ua.BrowseResultMask.BrowseName,
            )
            for node in nodes
        ]
        results = await self._session.browse(ua.BrowseParameters(NodesToBrowse=wanted))
        found = [[(_our_node_id(r.NodeId), r.BrowseName.Name or "") for r in each.References or ()] for each in results]
        # Types have few references: what does not come at once is not needed, but has to be given up.
        if points := [each.ContinuationPoint for each in results if each.ContinuationPoint]:
            await self._session.browse_next(
                ua.BrowseNextParameters(ReleaseContinuationPoints=True, ContinuationPoints=points)
            )
        return found

    # --- subscribing -----------------------------------------------------------------------------------------------

    async def subscribe(self, publishing: float, keep_alive: int, lifetime: int) -> tuple[int, float]:
        """Make an empty subscription. Its id, and the seconds of silence after which it says that it lives."""
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=publishing * 1000,
            RequestedLifetimeCount=lifetime,
            RequestedMaxKeepAliveCount=keep_alive,
            MaxNotificationsPerPublish=0,
            PublishingEnabled=True,
            Priority=0,
        )
        made = await self._session.create_subscription(wanted, lambda _: None)
        return made.SubscriptionId, made.RevisedPublishingInterval / 1000 * made.RevisedMaxKeepAliveCount

    async def monitor(self, subscription: int, items: Sequence[Item]) -> Sequence[object]:
        """Have nodes reported. What became of each is put into the item; as many as were answered are returned."""
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = subscription
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        parameters.ItemsToCreate = [_request(item) for item in items]
        self._highest[subscription] = max(self._highest.get(subscription, 0), *(item.handle for item in items), 0)
        results = await self._session.create_monitored_items(parameters)
        for item, result in zip(items, results, strict=False):
            item.status, item.id = _status(result.StatusCode), result.MonitoredItemId
            item.revised_queue, item.revised_sampling = result.RevisedQueueSize, result.RevisedSamplingInterval / 1000
        return results

    async def forget(self, subscription: int, ids: Sequence[int]) -> None:
        """Take monitored items away, whether they are still there or not."""
        await self._session.delete_monitored_items(
            ua.DeleteMonitoredItemsParameters(SubscriptionId=subscription, MonitoredItemIds=list(ids))
        )

    async def unsubscribe(self, subscriptions: Sequence[int]) -> None:
        """Delete subscriptions. That one is not there is fine."""
        await self._session.delete_subscriptions(list(subscriptions))

    async def transferred(self, subscriptions: Sequence[int]) -> list[int]:
        """Take subscriptions over from a session that is no more (Part 4, 5.14.7). Those that are ours now."""
        wanted = ua.TransferSubscriptionsParameters(SubscriptionIds=list(subscriptions), SendInitialValues=False)
        try:
            results = await self._session.transfer_subscriptions(wanted)
        except ua.UaStatusCodeError:
            return []
        return [id for id, result in zip(subscriptions, results, strict=False) if result.StatusCode.is_good()]

    async def republished(self, subscription: int, sequence: int) -> wire.Published | None:
        """A notification that the server has sent before (Part 4, 5.14.6); None where it does not keep it any more."""
        try:
            published = await self._session.republished(subscription, sequence)
        except ua.UaStatusCodeError as exc:
            if exc.code not in _NOT_SENT_AGAIN:
                raise
            return None
        # Some servers, asyncua's is one, have an empty message instead of a refusal.
        return self._known(published) if published.sequence == sequence else None

    async def published(self, seen: Sequence[tuple[int, int]]) -> wire.Published:
        """The next notification of any subscription. `seen`: subscription and sequence number of earlier ones."""
        acks = [ua.SubscriptionAcknowledgement(subscription, sequence) for subscription, sequence in seen]
        return self._known(await self._session.published(acks))

    def _known(self, published: wire.Published) -> wire.Published:
        """Without values of handles that nobody has given out, which would be those of another signal, or of none."""
        values, highest = published.values, self._highest.get(published.subscription)
        if highest is None or values is None or max(values.signal, default=0) <= highest:
            return published
        rows = [row for row, handle in enumerate(values.signal) if handle <= highest]
        if not self._strangers:
            self._strangers = True
            _log.warning(
                "%s: the server reports values of nodes that are not monitored; they are left out",
                self._connection.url,
            )
        published.values = values.only(rows)
        return published

    # --- events ----------------------------------------------------------------------------------------------------

    async def monitor_events(self, subscription: int, item: Item, severity: int) -> None:
        """Have the events of an object reported, from this severity on. What became of it is put into the item.

        A server that refuses what is selected is asked for less: no conditions, no choice by severity. So fields of
        `events.FIELDS` may be missing at the end, and events may be less severe.
        """
        attempts = list(dict.fromkeys([(events.FIELDS, severity), (events.BASIC, severity), (events.BASIC, 1)]))
        for attempt in attempts:
            parameters = ua.CreateMonitoredItemsParameters()
            parameters.SubscriptionId = subscription
            parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
            parameters.ItemsToCreate = [_event_request(item, *attempt)]
            try:
                (result,) = await self._session.create_monitored_items(parameters)
            except ua.UaStatusCodeError as exc:
                if exc.code not in _ABOUT_THE_FILTER:
                    raise
                item.status = exc.code
                continue
            item.status, item.id, item.revised_queue = (
                _status(result.StatusCode),
                result.MonitoredItemId,
                result.RevisedQueueSize,
            )
            if item.status not in _ABOUT_THE_FILTER:
                return

    async def refresh_conditions(self, subscription: int) -> bool:
        """Have the conditions that are retained reported once more (Part 9, 5.5.7). False: the server does not do it."""
        wanted = ua.CallMethodRequest(
            ObjectId=ua.NodeId(ua.ObjectIds.ConditionType),
            MethodId=ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh),
            InputArguments=[ua.Variant(subscription, ua.VariantType.UInt32)],
        )
        try:
            (result,) = await self._session.call([wanted])
        except ua.UaStatusCodeError:
            return False
        return bool(result.StatusCode.is_good())

    # --- history ---------------------------------------------------------------------------------------------------

    async def keeps_history(self, nodes: Sequence[NodeId]) -> list[bool]:
        """Whether this user may read the past of each node (Part 3, 5.6.2)."""
        levels = await self._attributes(nodes, ua.AttributeIds.UserAccessLevel)
        return [isinstance(level, int) and bool(level & _HISTORY_READ) for level in levels]

    async def history(self, start: int, end: int, most: int, nodes: Sequence[Asked]) -> list[wire.History]:
        """What was from `start` to `end`, ns since 1970, oldest first and at most so many values of each node.

        With its continuation point a node goes on where the answer before has ended (Part 11, 6.4.3).
        """
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False,
            StartTime=_date_time(start),
            EndTime=_date_time(end + 999),  # a microsecond is all that can be said: rather too much than too little
            NumValuesPerNode=most,
            ReturnBounds=False,
        )
        try:
            return await self._session.history(details, nodes)
        except wire.GarbledError:
            status = int(ua.StatusCodes.BadDecodingError)
        except ua.UaStatusCodeError as exc:
            if exc.code in _ABOUT_THE_SESSION or type(exc).__name__ in TOO_MUCH:
                raise
            status = exc.code
        return [wire.History(status, None, wire.Values()) for _ in nodes]

    async def release_history(self, nodes: Sequence[Asked]) -> None:
        """Give continuation points up: a server has few."""
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False, StartTime=_1970, EndTime=_1970, NumValuesPerNode=1, ReturnBounds=False
        )
        await self._session.history(details, nodes, release=True)


class _Session(UaSession):
    """asyncua's session, with answers as columns."""

    overheard: Overheard | None = None

    def ensure_publish_loop(self) -> None:
        """We ask for notifications ourselves."""

    async def _send_request(self, request: Any, timeout: float | None = None, *more: Any) -> Buffer:
        """The answer, if it is one to this: what belongs to something else would be read as values."""
        if self.overheard is not None and type(request) in _OVERHEARD:
            return await self._send_overheard(self.overheard, request, timeout, *more)
        answer = await super()._send_request(request, timeout, *more)
        _fits(request, answer)
        return answer

    async def _send_overheard(self, overheard: Overheard, request: Any, *more: Any) -> Buffer:
        """The same, told to a recording: without the header of the request, which holds the token of the session."""
        ref = overheard.sent(request.TypeId.Identifier, struct_to_binary(request.Parameters))
        try:
            answer = await super()._send_request(request, *more)
        except ua.UaStatusCodeError as exc:
            fault = ua.ServiceFault()  # asyncua keeps the code only
            fault.ResponseHeader.ServiceResult = ua.StatusCode(exc.code)
            overheard.received(ref, struct_to_binary(fault))
            raise
        except Exception:
            overheard.received(ref, b"")
            raise
        overheard.received(ref, bytes(answer))
        _fits(request, answer)
        return answer

    async def published(self, acks: Sequence[Any]) -> wire.Published:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acks
        published = wire.publish_response(bytes(await self._send_request(request, timeout=0)))
        ua.StatusCode(published.result).check()
        return published

    async def republished(self, subscription: int, sequence: int) -> wire.Published:
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = subscription
        request.Parameters.RetransmitSequenceNumber = sequence
        published = wire.republish_response(subscription, bytes(await self._send_request(request)))
        ua.StatusCode(published.result).check()
        return published

    async def history(self, details: Any, nodes: Sequence[Asked], release: bool = False) -> list[wire.History]:
        request = ua.HistoryReadRequest()
        request.Parameters.HistoryReadDetails = details
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.ReleaseContinuationPoints = release
        request.Parameters.NodesToRead = [
            ua.HistoryReadValueId(NodeId=_node_id(node.node), ContinuationPoint=node.point) for node in nodes
        ]
        result, found = wire.history_response(bytes(await self._send_request(request)))
        ua.StatusCode(result).check()
        return found

    async def values(self, nodes: Sequence[Any], attribute: Any = _VALUE) -> wire.Values:
        request = ua.ReadRequest()
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in nodes]
        result, values = wire.read_response(bytes(await self._send_request(request)))
        ua.StatusCode(result).check()
        return values


# What a recording has: what is said of the machine, and nothing of who says it to whom.
_OVERHEARD = frozenset((
    ua.ReadRequest, ua.BrowseRequest, ua.BrowseNextRequest, ua.TranslateBrowsePathsToNodeIdsRequest,
    ua.RegisterNodesRequest, ua.CreateSubscriptionRequest, ua.ModifySubscriptionRequest, ua.CreateMonitoredItemsRequest,
    ua.ModifyMonitoredItemsRequest, ua.DeleteMonitoredItemsRequest, ua.DeleteSubscriptionsRequest,
    ua.SetPublishingModeRequest, ua.PublishRequest, ua.RepublishRequest, ua.TransferSubscriptionsRequest,
    ua.HistoryReadRequest, ua.CallRequest,
))  # fmt: skip


class _GarbledError(wire.GarbledError, ua.UaError):  # type: ignore[misc]  # of asyncua's as well, which lets those through
    """Bytes that cannot be read; as asyncua's own it keeps its text on the way up."""


class _Body(Buffer):
    """asyncua's, which goes backwards for lengths below zero: a list of 2^31 strings fits into eight bytes then.

    And asyncua makes objects of a hundred bytes out of single ones, so what it reads in one message is counted.
    """

    most = 1_000_000  # parts of a message that asyncua reads: a second of work

    def __init__(self, data: bytes, start_pos: int = 0, size: int = -1, reads: list[int] | None = None) -> None:
        super().__init__(data, start_pos, size)
        self._reads = [0] if reads is None else reads  # shared with its copies

    def read(self, size: int) -> bytes:
        self._reads[0] += 1
        if size < 0 or self._reads[0] > self.most:
            raise _GarbledError(f"{size} bytes announced" if size < 0 else "a message of a million parts")
        return super().read(size)

    def skip(self, size: int) -> None:
        if size < 0:
            raise _GarbledError(f"{size} bytes announced")
        super().skip(size)

    def copy(self, size: int = -1) -> Buffer:
        copied = super().copy(size)
        return _Body(copied._data, copied.cur_pos, len(copied), self._reads)


class _Nulls:
    """Values of no bytes: as many as anybody likes to announce, if nobody counts."""

    @staticmethod
    def unpack_array(data: Buffer, length: int) -> Sequence[None]:
        if not 0 <= length <= len(data):
            raise _GarbledError(f"{length} values without a type announced")
        return (None,) * length


Primitives1.Null = _Nulls  # type: ignore[attr-defined]  # where asyncua looks up how arrays are read


class _Message(ua.Message):  # type: ignore[misc]
    def body(self) -> Buffer:
        return _Body(bytes(super().body()))


class _Channel(SecureConnection):
    """asyncua's, with messages that are read more carefully."""

    def _receive(self, msg: Any) -> Any:
        message = super()._receive(msg)
        return message and _Message(message._chunks)


_ANSWERS: dict[type, int] = {}  # the encoding of the answer to each kind of request


def _fits(request: Any, answer: Buffer) -> None:
    """Raises GarbledError for an answer of another type, or about more nodes than were asked for."""
    kind = type(request)
    if kind not in _ANSWERS:
        name = f"{kind.__name__.removesuffix('Request')}Response_Encoding_DefaultBinary"
        _ANSWERS[kind] = getattr(ua.ObjectIds, name)
    try:
        reader = wire.Reader(bytes(answer))
        if reader.node() != NodeId(0, "i", _ANSWERS[kind]):
            raise _GarbledError(f"an answer of another type to a {kind.__name__}")
        if kind is ua.ReadRequest:
            reader.at = 0
            reader.response_header()
            if reader.number("i") > len(request.Parameters.NodesToRead):
                raise _GarbledError("values of more nodes than were asked for")
    except (StructError, IndexError) as exc:
        raise _GarbledError(f"an answer that ends too early: {exc}") from exc


class _Socket(UASocketProtocol):
    """asyncua's, which believes every length, and forgets why a server refuses a channel or what it has sent."""

    def __init__(self, timeout: float, security_policy: Any) -> None:
        super().__init__(timeout, security_policy)
        self.frames = Frames()
        self._garbled: Exception | None = None  # what came before anybody waited for something
        self._connection = _Channel(security_policy, TransportLimits(2**31, LEAST_BUFFER, 0, 0))

    def data_received(self, data: bytes) -> None:
        try:
            if chunks := self.frames.feed(data):
                self._process_received_data(chunks)
        except wire.GarbledError as exc:
            self._garbled = _GarbledError(str(exc))
            self._fail_all_pending(self._garbled)
            self.disconnect_socket()

    async def send_hello(self, url: str, max_messagesize: int = 0, max_chunkcount: int = 0) -> Any:
        if self._garbled:
            raise self._garbled
        return await super().send_hello(url, max_messagesize, max_chunkcount)

    def disconnect_socket(self) -> None:
        """Also called over an answer that cannot be read; then those who wait for it are told so."""
        exc = sys.exc_info()[1]
        if isinstance(exc, Exception) and not isinstance(exc, ua.UaStatusCodeError) and self._callbackmap:
            self._fail_all_pending(_GarbledError(f"{str(exc) or type(exc).__name__}"))
        super().disconnect_socket()

    async def open_secure_channel(self, params: Any) -> Any:
        if self._open_secure_channel_exchange is not None:
            raise ConnectionError("the channel is being opened already")
        request = ua.OpenSecureChannelRequest()
        request.Parameters = params
        self._open_secure_channel_exchange = params
        answer = await asyncio.wait_for(
            self._send_request(request, message_type=ua.MessageType.SecureOpen), self.timeout
        )
        self.check_answer(answer, " in response to OpenSecureChannelRequest")  # a ServiceFault, with its reason
        opened: Any = self._open_secure_channel_exchange
        if not isinstance(opened, ua.OpenSecureChannelResponse):
            raise ConnectionError("the server's answer cannot be read")
        self._open_secure_channel_exchange = None
        return opened.Parameters

    def _process_received_message(self, msg: Any) -> None:
        if isinstance(msg, ua.Message) and msg.request_id() not in self._callbackmap:
            raise _GarbledError(f"an answer to request {msg.request_id()}, which nobody has made")
        if isinstance(msg, ua.Acknowledge):
            self._agree(msg)
        try:
            super()._process_received_message(msg)
        except ua.UaStatusCodeError as exc:
            if isinstance(msg, ua.ErrorMessage) and msg.Reason:
                exc.add_note(str(msg.Reason))
            raise

    def _agree(self, acknowledged: Any) -> None:
        """How much may be sent at once. asyncua takes one side's buffer for the other's; what arrives, `frames` limits."""
        limits, most = self._connection._limits, acknowledged.ReceiveBufferSize
        if most < LEAST_BUFFER:
            raise _GarbledError(f"it takes no more than {most} bytes at once, and {LEAST_BUFFER} are the least")
        limits.max_send_buffer, limits.max_recv_buffer = min(most, 65535), 2**31
        limits.max_message_size = limits.max_chunk_count = 0


class _Line(UaClient):
    """asyncua's transport, with our socket."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.timeout = timeout

    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = _Socket(self.timeout, security_policy=self.security_policy)
        self.protocol.pre_request_hook = self._pre_request_hook
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol


class _Client(AsyncuaClient):
    """asyncua's client, which would take the first endpoint and the first way to log in that the server names."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(url, timeout)
        self.uaclient = _Line(timeout)
        self.uaclient.pre_request_hook = self._wait_until_ready
        self.protection: Protection | None = None
        self._endpoint = Endpoint(url, "None", "None")
        self._tokens: Sequence[Token] = ()

    def apply(self) -> None:
        """For the next line. A new policy object each time: keys belong to a channel."""
        protection = self.protection
        if protection is None:
            self.security_policy = _policies.SecurityPolicyNone()
            self._endpoint = Endpoint(self.server_url.geturl(), "None", "None")
        else:
            endpoint, own = protection.endpoint, protection.own
            mode = ua.MessageSecurityMode[endpoint.mode]
            self.security_policy = _POLICIES[endpoint.policy](
                protection.server.x509, own.certificate.x509, own.key, mode
            )
            self._endpoint = endpoint
        self.uaclient.set_security(self.security_policy)

    async def create_session(self) -> Any:
        """Begin a session with somebody who proves to be the one that was chosen (Part 4, 5.6.2).

        asyncua's looks at the signature as well, but neither at the nonce nor for a better endpoint that was hidden
        from us, and gives up where an endpoint has no address.
        """
        policy: Any = self.security_policy
        nonce = create_nonce(32)
        wanted = ua.CreateSessionParameters()
        wanted.ClientDescription = ua.ApplicationDescription(
            ApplicationUri=self.application_uri,
            ProductUri=self.product_uri,
            ApplicationName=ua.LocalizedText(self.name),
            ApplicationType=ua.ApplicationType.Client,
        )
        wanted.EndpointUrl = self.server_url.geturl()
        wanted.SessionName = self.description
        wanted.ClientNonce = nonce
        wanted.ClientCertificate = policy.host_certificate or None
        wanted.RequestedSessionTimeout = self.session_timeout
        wanted.MaxResponseMessageSize = 0
        made = await self.uaclient.create_session(wanted)
        self._server_nonce = made.ServerNonce
        self.session_timeout = made.RevisedSessionTimeout
        endpoints = [_endpoint(each) for each in made.ServerEndpoints or ()]
        if self.protection:
            self._prove(self.protection, made, nonce)
            self._compare(self.protection, endpoints)
            self.protection.proven()
        elif made.ServerCertificate:  # what a signature for this server begins with
            with suppress(CertificateError):
                policy.peer_certificate = chain(made.ServerCertificate)[0].der
        same = [each for each in endpoints if each.security == self._endpoint.security]
        self._tokens = same[0].tokens if same else self._endpoint.tokens
        return made

    def _prove(self, protection: Protection, made: Any, nonce: bytes) -> None:
        """That the server has the key of the certificate that we believe."""
        policy: Any = self.security_policy
        try:
            sent = chain(made.ServerCertificate or b"")[0]
        except CertificateError:
            sent = None
        if sent != protection.server:
            text = "the server shows another certificate in the session than it has shown before"
            raise NotConnectedError(text, fault="opcua-identity-not-proved")
        try:
            signed = (policy.host_certificate or b"") + nonce
            policy.asymmetric_cryptography.verify(signed, made.ServerSignature.Signature)
        except Exception as exc:  # whatever is wrong with it, it is no proof
            text = "the server cannot prove that its certificate is its own"
            raise NotConnectedError(text, fault="opcua-identity-not-proved") from exc
        if len(made.ServerNonce or b"") < 32:
            text = "the server's nonce is too short to be safe (Part 4, 5.6.2)"
            raise NotConnectedError(text, fault="opcua-identity-not-proved")

    def _compare(self, protection: Protection, endpoints: Sequence[Endpoint]) -> None:
        """What the server offers is signed now: see whether somebody has taken the best of it away before."""
        used = protection.endpoint.security
        if not protection.auto:
            return
        if not endpoints:
            raise NotConnectedError(
                f"the server does not say again what it offers, so that {used} may not be its best: write `security: {used}`",
                fault="opcua-security-mismatch",
            )
        if better := stronger(endpoints, protection.endpoint, protection.login):
            raise NotConnectedError(
                f"the server offers {better.security}, but when it was asked before, somebody in between has left that out: "
                f"{used} is refused. Look for who answers in the server's place, or write `security: {used}`",
                fault="opcua-security-mismatch",
            )

    async def activate(self, login: Login, user: str | None, password: str | None, pair: KeyPair | None) -> None:
        """Log in (Part 4, 5.6.3)."""
        policy: Any = self.security_policy
        challenge = (policy.peer_certificate or b"") + (self._server_nonce or b"")
        wanted = ua.ActivateSessionParameters()
        wanted.ClientSignature.Algorithm = policy.AsymmetricSignatureURI or _SHA256.AsymmetricSignatureURI
        wanted.ClientSignature.Signature = policy.asymmetric_cryptography.signature(challenge)
        wanted.LocaleIds = self._locale
        if login == "user" and not password and self.protection is None:
            token = next((t for t in self._tokens if t.login == login), Token(login, ""))
        elif login == "anonymous" and not self._tokens:
            token = Token(login, "")
        else:
            token = token_of(self._tokens, login, self._endpoint)
        if login == "anonymous":
            wanted.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId=token.id)
        elif login == "user":
            wanted.UserIdentityToken = ua.UserNameIdentityToken(PolicyId=token.id, UserName=user)
            if password:
                self._put_password(wanted.UserIdentityToken, password, token)
        else:
            assert pair is not None
            wanted.UserIdentityToken = ua.X509IdentityToken(PolicyId=token.id, CertificateData=pair.certificate.der)
            signing = _POLICIES[token.policy]
            wanted.UserTokenSignature.Algorithm = signing.AsymmetricSignatureURI
            wanted.UserTokenSignature.Signature = signing.sign_asymmetric(pair.key, challenge)
        self._server_nonce = (await self.uaclient.activate_session(wanted)).ServerNonce
        if isinstance(self.uaclient.protocol, _Socket):
            self.uaclient.protocol.frames.most = MOST  # it has let us in

    def _put_password(self, identity: Any, password: str, token: Token) -> None:
        """Encrypted (Part 4, 7.41.2.2), or plain where the channel encrypts: `token_of` lets nothing else pass."""
        if token.policy == "None":
            assert self._endpoint.mode == "SignAndEncrypt"
            identity.Password, identity.EncryptionAlgorithm = password.encode(), None
            return
        assert self.protection is not None
        policy, key = _POLICIES[token.policy], self.protection.server.key
        assert key is not None
        secret = password.encode() + (self._server_nonce or b"")
        plain = struct.pack("<I", len(secret)) + secret
        size = key.key_size // 8 - _PADDING[policy.AsymmetricEncryptionURI]
        blocks = [plain[start : start + size] for start in range(0, len(plain), size)]
        identity.Password = b"".join(policy.encrypt_asymmetric(key, block) for block in blocks)
        identity.EncryptionAlgorithm = policy.AsymmetricEncryptionURI


_SHA256: Any = _policies.SecurityPolicyBasic256Sha256
_POLICIES: dict[str, Any] = {
    policy.URI.rpartition("#")[2]: policy
    for policy in (
        _policies.SecurityPolicyAes256Sha256RsaPss,
        _policies.SecurityPolicyAes128Sha256RsaOaep,
        _policies.SecurityPolicyBasic256Sha256,
        _policies.SecurityPolicyBasic256,
        _policies.SecurityPolicyBasic128Rsa15,
    )
}
# Bytes of a block that padding takes: RFC 8017, 7.1.1 and 7.2.1.
_PADDING = {
    "http://www.w3.org/2001/04/xmlenc#rsa-1_5": 11,
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep": 42,
    "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256": 66,
}
_LOGINS: dict[Any, Login] = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "user",
    ua.UserTokenType.Certificate: "certificate",
    ua.UserTokenType.IssuedToken: "issued",
}


def _endpoint(described: Any) -> Endpoint:
    """An EndpointDescription."""
    server, tokens = described.Server, described.UserIdentityTokens or ()
    return Endpoint(
        described.EndpointUrl or "",
        (described.SecurityPolicyUri or "").rpartition("#")[2],
        described.SecurityMode.name.rstrip("_"),
        described.ServerCertificate or b"",
        (server.ApplicationUri or "") if server else "",
        tuple(
            Token(_LOGINS[t.TokenType], t.PolicyId or "", (t.SecurityPolicyUri or "").rpartition("#")[2])
            for t in tokens
            if t.TokenType in _LOGINS
        ),
        described.TransportProfileUri or "",
        ((server.ApplicationName.Text if server.ApplicationName else "") or "") if server else "",
    )


def _ahead(timestamp: Any) -> float | None:
    """Seconds that the server's clock is ahead of ours; None where it does not say."""
    if not isinstance(timestamp, datetime) or timestamp.year <= 1601:
        return None
    return (timestamp.replace(tzinfo=timestamp.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


# --- between asyncua's types and ours --------------------------------------------------------------------------------

_MAKE: dict[str, Callable[[Any, int], Any]] = {
    "i": ua.NumericNodeId,
    "s": ua.StringNodeId,
    "g": ua.GuidNodeId,
    "b": ua.ByteStringNodeId,
}
_KINDS: dict[Any, Kind] = {
    ua.NodeIdType.TwoByte: "i",
    ua.NodeIdType.FourByte: "i",
    ua.NodeIdType.Numeric: "i",
    ua.NodeIdType.String: "s",
    ua.NodeIdType.Guid: "g",
    ua.NodeIdType.ByteString: "b",
}


def unit_of(information: Any, span: Any) -> Unit | None:
    """An EUInformation and a Range, where a variable has them."""
    low, high = (span.Low, span.High) if isinstance(span, ua.Range) and span.Low < span.High else (None, None)
    if isinstance(information, ua.EUInformation):
        return Unit(ucum(information.NamespaceUri, information.UnitId, information.DisplayName.Text), low, high)
    return None if low is None else Unit("", low, high)


def _status(status: Any) -> int:
    return int(status.value) if status else 0


def _node_id(node: NodeId) -> Any:
    return _MAKE[node.kind](node.identifier, node.namespace)


def _our_node_id(id: Any) -> NodeId:
    return NodeId(id.NamespaceIndex, _KINDS[id.NodeIdType], id.Identifier)


def _path(start: Any, path: Path, references: int) -> Any:
    elements = [
        ua.RelativePathElement(
            ReferenceTypeId=ua.NodeId(references),
            IsInverse=False,
            IncludeSubtypes=True,
            TargetName=ua.QualifiedName(name, namespace),
        )
        for namespace, name in path
    ]
    return ua.BrowsePath(StartingNode=start, RelativePath=ua.RelativePath(elements))


def _request(item: Item) -> Any:
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=_node_id(item.node), AttributeId=_VALUE),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=item.handle,
            SamplingInterval=item.sampling * 1000,
            QueueSize=item.queue,
            DiscardOldest=item.discard_oldest,
            Filter=_deadband(item.deadband) if item.deadband else None,
        ),
    )


def _deadband(deadband: Deadband) -> Any:
    kind = ua.DeadbandType.Percent if deadband.percent else ua.DeadbandType.Absolute
    return ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue, DeadbandType=kind, DeadbandValue=deadband.value
    )


# A notification that is kept no more, and a server that keeps none.
_NOT_SENT_AGAIN = frozenset((
    ua.StatusCodes.BadMessageNotAvailable, ua.StatusCodes.BadServiceUnsupported, ua.StatusCodes.BadNotImplemented,
    ua.StatusCodes.BadNotSupported,
))  # fmt: skip


# --- events ----------------------------------------------------------------------------------------------------------

# Statuses after which a server is asked for less: of the filter, of the nodes of event types, of operators and fields.
_ABOUT_THE_FILTER = frozenset((
    ua.StatusCodes.BadEventFilterInvalid, ua.StatusCodes.BadMonitoredItemFilterInvalid,
    ua.StatusCodes.BadMonitoredItemFilterUnsupported, ua.StatusCodes.BadFilterNotAllowed,
    ua.StatusCodes.BadContentFilterInvalid, ua.StatusCodes.BadFilterOperatorInvalid,
    ua.StatusCodes.BadFilterOperatorUnsupported, ua.StatusCodes.BadFilterOperandInvalid,
    ua.StatusCodes.BadFilterElementInvalid, ua.StatusCodes.BadFilterLiteralInvalid,
    ua.StatusCodes.BadTypeDefinitionInvalid, ua.StatusCodes.BadBrowseNameInvalid, ua.StatusCodes.BadNodeIdUnknown,
    ua.StatusCodes.BadAttributeIdInvalid, ua.StatusCodes.BadIndexRangeInvalid, ua.StatusCodes.BadNotSupported,
    ua.StatusCodes.BadDecodingError, ua.StatusCodes.BadTooManyOperations,
))  # fmt: skip


def _event_request(item: Item, fields: Sequence[events.Field], severity: int) -> Any:
    selected = [
        ua.SimpleAttributeOperand(
            TypeDefinitionId=ua.NodeId(field.type),
            BrowsePath=[ua.QualifiedName(name, 0) for name in field.path],
            AttributeId=field.attribute,
        )
        for field in fields
    ]
    least = ua.ContentFilterElement(
        FilterOperator=ua.FilterOperator.GreaterThanOrEqual,
        FilterOperands=[
            next(operand for operand, field in zip(selected, fields, strict=True) if field.name == "Severity"),
            ua.LiteralOperand(Value=ua.Variant(severity, ua.VariantType.UInt16)),
        ],
    )
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=_node_id(item.node), AttributeId=ua.AttributeIds.EventNotifier),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=item.handle,
            SamplingInterval=0,  # events are not sampled: Part 4, 7.21
            QueueSize=item.queue,
            DiscardOldest=item.discard_oldest,
            Filter=ua.EventFilter(
                SelectClauses=selected, WhereClause=ua.ContentFilter(Elements=[least] if severity > 1 else [])
            ),
        ),
    )


# --- history ---------------------------------------------------------------------------------------------------------

_HISTORY_READ = 0x04  # of an access level: Part 3, 8.57

# Faults that are about the session or the server as a whole. All others are what it has to say about its history.
_ABOUT_THE_SESSION = frozenset((
    ua.StatusCodes.BadSessionIdInvalid, ua.StatusCodes.BadSessionClosed, ua.StatusCodes.BadSessionNotActivated,
    ua.StatusCodes.BadSecureChannelIdInvalid, ua.StatusCodes.BadSecureChannelClosed,
    ua.StatusCodes.BadSecurityChecksFailed, ua.StatusCodes.BadConnectionClosed, ua.StatusCodes.BadCommunicationError,
    ua.StatusCodes.BadServerNotConnected, ua.StatusCodes.BadServerHalted, ua.StatusCodes.BadShutdown,
))  # fmt: skip


def _date_time(time: int) -> datetime:
    return _1970 + timedelta(microseconds=time // 1000)


# --- browsing --------------------------------------------------------------------------------------------------------

# What asyncua raises over bytes that are not what they should be.
_NOT_DECODED = (ua.UaError, StructError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


@contextmanager
def _decoding() -> Iterator[None]:
    """Whatever is raised over an answer is a ValueError; what the server refuses stays what it is."""
    try:
        yield
    except ua.UaStatusCodeError:
        raise
    except _NOT_DECODED as exc:
        raise ValueError(str(exc)) from exc


_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def _expanded(id: Any, uris: Sequence[str]) -> NodeId | None:
    """An ExpandedNodeId; None for a node of another server or of a namespace that there is not, or for none."""
    uri, server = getattr(id, "NamespaceUri", None), getattr(id, "ServerIndex", 0)
    if id is None or server or (not id.Identifier and not id.NamespaceIndex and not uri):
        return None
    if uri:
        return NodeId(uris.index(uri), _KINDS[id.NodeIdType], id.Identifier) if uri in uris else None
    return _our_node_id(id)


def _browsed(result: Any, uris: Sequence[str]) -> Browsed:
    references = []
    for r in result.References or ():
        name = r.BrowseName
        references.append(
            Reference(
                _our_node_id(r.ReferenceTypeId),
                _expanded(r.NodeId, uris),
                QualifiedName(name.NamespaceIndex, name.Name or ""),
                r.DisplayName.Text or "",
                int(r.NodeClass),
                _expanded(r.TypeDefinition, uris),
            )
        )
    return Browsed(_status(result.StatusCode), references, result.ContinuationPoint or None)


def _attribute(data: Any) -> Attribute:
    variant = data.Value
    status, times = _status(data.StatusCode), (_nanoseconds(data.SourceTimestamp), _nanoseconds(data.ServerTimestamp))
    if variant is None or variant.Value is None:
        return Attribute(status, None, 0, False, *times)
    return Attribute(status, _plain(variant.Value), variant.VariantType.value, bool(variant.is_array), *times)


def _nanoseconds(time: datetime | None) -> int | None:
    if time is None or time <= _1970 or time.year > 9998:  # 0 and the last day mean none: Part 6, 5.2.2.5
        return None
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _1970
    return ((since.days * 86400 + since.seconds) * 10**6 + since.microseconds) * 1000


def _plain(value: Any) -> Any:
    """A value of asyncua's as one of Python's or ours; arrays as lists."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if value is None or type(value) in _AS_IT_IS:
        return value
    convert = _PLAIN.get(type(value).__name__)
    if convert:
        return convert(value)
    if is_dataclass(value):  # a structure of the standard's that asyncua knows
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return int(value) if isinstance(value, int) else str(value)


_AS_IT_IS = frozenset((bool, int, float, str, bytes, UUID, datetime))
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "NodeId": lambda v: _our_node_id(v),
    "NumericNodeId": lambda v: _our_node_id(v),
    "TwoByteNodeId": lambda v: _our_node_id(v),
    "FourByteNodeId": lambda v: _our_node_id(v),
    "StringNodeId": lambda v: _our_node_id(v),
    "GuidNodeId": lambda v: _our_node_id(v),
    "ByteStringNodeId": lambda v: _our_node_id(v),
    "ExpandedNodeId": lambda v: _our_node_id(v),
    "QualifiedName": lambda v: QualifiedName(v.NamespaceIndex, v.Name or ""),
    "LocalizedText": lambda v: Text(v.Text or "", v.Locale or ""),
    "StatusCode": _status,
    "XmlElement": lambda v: v.Value,
    "Range": lambda v: Range(v.Low, v.High),
    "EUInformation": lambda v: EngineeringUnit(
        v.NamespaceUri or "", v.UnitId, v.DisplayName.Text or "", v.Description.Text or ""
    ),
    "EnumValueType": lambda v: EnumValue(v.Value, v.DisplayName.Text or ""),
    "EnumField": lambda v: EnumValue(v.Value, v.DisplayName.Text or v.Name or ""),
    "EnumDefinition": lambda v: EnumDefinition(_plain(v.Fields or [])),
    "StructureField": lambda v: Field(
        v.Name or "",
        _our_node_id(v.DataType),
        v.ValueRank,
        tuple(v.ArrayDimensions or ()),
        bool(v.IsOptional),
        v.Description.Text or "",
    ),
    "StructureDefinition": lambda v: StructureDefinition(
        int(v.StructureType), _our_node_id(v.DefaultEncodingId), _our_node_id(v.BaseDataType), _plain(v.Fields or [])
    ),
    "ExtensionObject": lambda v: Structure(_our_node_id(v.TypeId), v.Body),
}
