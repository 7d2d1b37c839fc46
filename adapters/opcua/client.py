"""The only file that imports asyncua: its client, with our names, our types and our way to read values.

asyncua brings transport, channel and services. Not used are its reconnecting, which keeps namespace indexes that have
moved; its publish loop, which makes a task of every value or drops what is too much; and its decoding of values, which
takes ten times as long, and loses a whole notification over one value that it cannot read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from struct import error as StructError
from typing import Any
from uuid import UUID

import asyncua.ua
from asyncua.client.client import Client as AsyncuaClient
from asyncua.client.ua_client import UaClientState
from asyncua.client.ua_session import UaSession
from asyncua.common.node import Node
from asyncua.common.ua_utils import data_type_to_variant_type

from adapters.opcua import wire
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
from adapters.opcua.items import Deadband, Item
from adapters.opcua.nodes import Kind, NodeId
from adapters.opcua.units import Unit, ucum
from gateway.errors import NotConnectedError

ua: Any = asyncua.ua  # the types it declares are not those it takes

CHANNEL_LIFETIME = 600.0  # seconds asked for; the server may give less

_chatty = logging.getLogger("asyncua")
if _chatty.level == logging.NOTSET:
    _chatty.setLevel(logging.CRITICAL + 1)  # it logs what it raises as well, with a trace

# How a password is encrypted on its way over an open channel: the best first.
_TOKEN_POLICIES = ("Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Basic256", "Basic128Rsa15")
_VALUE = ua.AttributeIds.Value
_STATE = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)

Path = Sequence[tuple[int, str]]
"""Browse names with the indexes of their namespaces."""


class Client:
    """One line to a server and one session on it. Raises whatever asyncua and the system raise; `Session` translates."""

    def __init__(self, connection: OpcuaConnection, application: str) -> None:
        """`application` is the name the server sees."""
        self._connection = connection
        self._client = client = _Client(connection.url, timeout=connection.timeout)
        client.name = client.description = application
        client.application_uri = f"urn:shopfloor-gateway:{application.replace(' ', ':')}"
        client.product_uri = "urn:shopfloor-gateway"
        client.session_timeout = int(connection.session_timeout * 1000)
        client.secure_channel_timeout = int(CHANNEL_LIFETIME * 1000)
        self._session = client.uaclient.session = _Session(client.uaclient)

    # --- line and session ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return bool(self._client.state is not UaClientState.DISCONNECTED)

    @property
    def has_session(self) -> bool:
        """Whether the server has a session of ours, as far as we know."""
        return self._client.uaclient.has_session

    async def offers(self) -> list[str]:
        """The ways to connect that the server offers, such as Basic256Sha256/SignAndEncrypt."""
        endpoints = await self._client.connect_and_get_server_endpoints()
        names = {
            (e.SecurityPolicyUri or "").rpartition("#")[2] + f"/{e.SecurityMode.name.rstrip('_')}" for e in endpoints
        }
        return sorted(name.removesuffix("/None") for name in names)

    async def dial(self) -> None:
        """Open a line and a channel on it."""
        await self._client.uaclient.connect_socket(self._connection.host, self._connection.port)
        await self._client.send_hello()
        await self._client.open_secure_channel()

    async def log_in(self) -> None:
        """Begin a session."""
        await self._client.create_session()
        await self._activate()

    async def take_over(self) -> None:
        """Go on with the session that was begun over another line."""
        self._session.rebind_authentication_token()
        await self._activate()

    async def _activate(self) -> None:
        password = self._connection.password
        await self._client.activate_session(
            username=self._connection.user, password=password.value if password else None
        )

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
        return [_browsed(result, uris) for result in await self._session.browse(parameters)]

    async def browse_next(self, points: Sequence[bytes], uris: Sequence[str], release: bool) -> list[Browsed]:
        """What comes after these continuation points (Part 4, 5.8.3); with `release` nothing, and they are given up."""
        parameters = ua.BrowseNextParameters(ReleaseContinuationPoints=release, ContinuationPoints=list(points))
        return [_browsed(result, uris) for result in await self._session.browse_next(parameters)]

    async def look(self, wanted: Sequence[tuple[NodeId, int]]) -> list[Attribute]:
        """Any attributes of any nodes, of all types (Part 4, 5.10.2). Raises ValueError where one cannot be decoded."""
        request = ua.ReadParameters(
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            NodesToRead=[ua.ReadValueId(NodeId=_node_id(node), AttributeId=attribute) for node, attribute in wanted],
        )
        try:
            return [_attribute(data) for data in await self._session.read(request)]
        except ua.UaStatusCodeError:
            raise
        except _NOT_DECODED as exc:
            raise ValueError(str(exc)) from exc

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

    async def transferred(self, subscriptions: Sequence[int]) -> bool:
        """Take subscriptions over from a session that is no more (Part 4, 5.14.7). False: not all of them are ours now."""
        wanted = ua.TransferSubscriptionsParameters(SubscriptionIds=list(subscriptions), SendInitialValues=False)
        try:
            results = await self._session.transfer_subscriptions(wanted)
        except ua.UaStatusCodeError:
            return False
        return all(result.StatusCode.is_good() for result in results)

    async def republished(self, subscription: int, sequence: int) -> wire.Published | None:
        """A notification that the server has sent before (Part 4, 5.14.6); None where it does not keep it any more."""
        try:
            return await self._session.republished(subscription, sequence)
        except ua.uaerrors.BadMessageNotAvailable:
            return None

    async def published(self, seen: Sequence[tuple[int, int]]) -> wire.Published:
        """The next notification of any subscription. `seen`: subscription and sequence number of earlier ones."""
        acks = [ua.SubscriptionAcknowledgement(subscription, sequence) for subscription, sequence in seen]
        return await self._session.published(acks)


class _Session(UaSession):
    """asyncua's session, with answers as columns."""

    def ensure_publish_loop(self) -> None:
        """We ask for notifications ourselves."""

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

    async def values(self, nodes: Sequence[Any]) -> wire.Values:
        request = ua.ReadRequest()
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=_VALUE) for node in nodes]
        result, values = wire.read_response(bytes(await self._send_request(request)))
        ua.StatusCode(result).check()
        return values


class _Client(AsyncuaClient):
    """asyncua's client, which would log in the first way the server names."""

    def server_policy(self, token_type: Any) -> Any:
        """The best way to log in. Raises NotConnectedError rather than send a plain password."""
        policies = [policy for policy in self._policy_ids if policy.TokenType == token_type]
        offered = {
            (policy.SecurityPolicyUri or self.security_policy.URI).rpartition("#")[2]: policy for policy in policies
        }
        for name in _TOKEN_POLICIES:
            if token_type is ua.UserTokenType.UserName and name in offered:
                return offered[name]
        if token_type is ua.UserTokenType.UserName and offered:
            raise NotConnectedError(
                "the password would go over the network for anybody to read: the server offers no encryption of it. "
                "Log in without, or use `security: auto`"
            )
        return super().server_policy(token_type)


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


# --- browsing --------------------------------------------------------------------------------------------------------

# What asyncua raises over bytes that are not what they should be.
_NOT_DECODED = (ua.UaError, StructError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def _expanded(id: Any, uris: Sequence[str]) -> NodeId | None:
    """An ExpandedNodeId; None for a node of another server or of a namespace that there is not, or for none."""
    if id is None or id.ServerIndex or (not id.Identifier and not id.NamespaceIndex and not id.NamespaceUri):
        return None
    if id.NamespaceUri:
        if id.NamespaceUri not in uris:
            return None
        return NodeId(uris.index(id.NamespaceUri), _KINDS[id.NodeIdType], id.Identifier)
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
