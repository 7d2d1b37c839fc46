"""An OPC UA server on a bare socket that answers properly, or with whatever it is told to.

`on` has a function by name of request, such as {"ReadRequest": evil}: it gets the line and the request, and does what
it likes instead of answering. Requests and the honest answers are asyncua's; what goes wrong is written by hand.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import asyncua.ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary

ua: Any = asyncua.ua

URIS = ["http://opcfoundation.org/UA/", "urn:shop:cnc"]
Evil = Callable[["Line", Any], None]

HELLO, OPENED = "HEL", "OpenSecureChannelRequest"


class Line:
    """One connection. `data` are requests that wait: of PublishRequest their ids."""

    def __init__(self, server: Hostile, sock: socket.socket) -> None:
        self.server, self.sock = server, sock
        self.channel, self.token, self.sequence = 7, 1, 0
        self.waiting: list[int] = []
        self.handles: list[int] = []
        self.request_id = 0
        self.published = itertools.count(1)

    # --- what goes out -------------------------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.sock.sendall(data)

    def chunk(
        self, body: bytes, id: int | None = None, *, kind: bytes = b"MSG", last: bytes = b"F", **odd: int
    ) -> None:
        """One chunk (Part 6, 6.7.2). `odd`: sequence, channel, token, size, as they should not be."""
        self.raw(self.chunked(body, self.request_id if id is None else id, kind, last, **odd))

    def chunked(self, body: bytes, id: int, kind: bytes = b"MSG", last: bytes = b"F", **odd: int) -> bytes:
        self.sequence = odd.get("sequence", self.sequence + 1)
        if kind == b"OPN":
            uri = b"http://opcfoundation.org/UA/SecurityPolicy#None"
            head = struct.pack("<i", len(uri)) + uri + struct.pack("<ii", -1, -1)
        else:
            head = struct.pack("<I", odd.get("token", self.token))
        size = odd.get("size", 12 + len(head) + 8 + len(body))
        channel = odd.get("channel", self.channel)
        return kind + last + struct.pack("<II", size, channel) + head + struct.pack("<II", self.sequence, id) + body

    def answer(self, response: Any, id: int | None = None) -> None:
        """A response, in chunks of 60,000 bytes."""
        self.body(struct_to_binary(response), id)

    def body(self, body: bytes, id: int | None = None) -> None:
        """The bytes of a response, in chunks of 60,000 bytes."""
        parts = [body[at : at + 60_000] for at in range(0, len(body), 60_000)] or [b""]
        for part in parts[:-1]:
            self.chunk(part, id, last=b"C")
        self.chunk(parts[-1], id)

    def notify(self, values: list[tuple[int, Any]] | bytes, sequence: int | None = None, id: int | None = None) -> None:
        """A publish response with these values by client handle, or these bytes as its notification."""
        if id is None:
            if not self.waiting:
                return
            id = self.waiting.pop(0)
        self.answer(self.publish_response(values, sequence), id)

    def publish_response(self, values: list[tuple[int, Any]] | bytes, sequence: int | None = None) -> Any:
        response = ua.PublishResponse()
        response.Parameters.SubscriptionId = 77
        response.Parameters.AvailableSequenceNumbers = []
        response.Parameters.MoreNotifications = False
        message = response.Parameters.NotificationMessage
        message.SequenceNumber = next(self.published) if sequence is None else sequence
        message.PublishTime = datetime.now(UTC)
        if isinstance(values, bytes):
            message.NotificationData = [ua.ExtensionObject(ua.FourByteNodeId(811), values)]
        elif values:
            items = [ua.MonitoredItemNotification(handle, value) for handle, value in values]
            message.NotificationData = [ua.DataChangeNotification(items, [])]
        return response

    # --- what comes in -------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        with suppress(OSError, struct.error), self.sock:
            while True:
                self._one()

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise OSError("closed")
            data += more
        return data

    def _one(self) -> None:
        body, kind = b"", b""
        while True:
            kind, last, size = struct.unpack("<3scI", self._take(8))
            data = Buffer(self._take(size - 8))
            if kind == b"HEL":
                self._do(HELLO, None)
                return
            data.read(4)
            struct_from_binary(ua.AsymmetricAlgorithmHeader if kind == b"OPN" else ua.SymmetricAlgorithmHeader, data)
            header = struct_from_binary(ua.SequenceHeader, data)
            body += bytes(data)
            if last == b"F":
                break
        if kind == b"CLO":
            raise OSError("closed")
        self.request_id = header.RequestId
        read = Buffer(body)
        id = nodeid_from_binary(read)
        cls = ua.extension_objects_by_typeid[id]
        self._do(cls.__name__, struct_from_binary(cls, Buffer(body)))

    def _do(self, name: str, request: Any) -> None:
        self.server.seen[name] = self.server.seen.get(name, 0) + 1
        evil = self.server.on.get(name)
        (evil or getattr(self, f"_{name}"))(*((self, request) if evil else (request,)))

    def honestly(self, request: Any) -> None:
        """The answer that it would have been."""
        name = type(request).__name__ if request is not None else HELLO
        getattr(self, f"_{name}")(request)

    # --- honest answers ------------------------------------------------------------------------------------------------

    def _HEL(self, _: None) -> None:
        self.raw(b"ACKF" + struct.pack("<IIIIII", 28, 0, 65535, 65535, 0, 0))

    def _OpenSecureChannelRequest(self, request: Any) -> None:
        response = ua.OpenSecureChannelResponse()
        response.Parameters.SecurityToken = ua.ChannelSecurityToken(
            self.channel, self.token, datetime.now(UTC), request.Parameters.RequestedLifetime
        )
        response.Parameters.ServerNonce = b""
        self.chunk(struct_to_binary(response), kind=b"OPN")

    def _GetEndpointsRequest(self, _: Any) -> None:
        response = ua.GetEndpointsResponse()
        response.Endpoints = [self.endpoint()]
        self.answer(response)

    def endpoint(self, **changed: Any) -> Any:
        described = ua.EndpointDescription(
            EndpointUrl=self.server.url, SecurityMode=ua.MessageSecurityMode.None_,
            SecurityPolicyUri="http://opcfoundation.org/UA/SecurityPolicy#None",
            TransportProfileUri="http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary",
            UserIdentityTokens=[ua.UserTokenPolicy(PolicyId="a", TokenType=ua.UserTokenType.Anonymous)],
        )  # fmt: skip
        for key, value in changed.items():
            setattr(described, key, value)
        return described

    def _CreateSessionRequest(self, _: Any) -> None:
        response = ua.CreateSessionResponse()
        made = response.Parameters
        made.SessionId, made.AuthenticationToken = ua.NodeId(1, 1), ua.NodeId(2, 1)
        made.RevisedSessionTimeout, made.ServerNonce, made.ServerEndpoints = 60000, b"x" * 32, [self.endpoint()]
        self.answer(response)

    def _ActivateSessionRequest(self, _: Any) -> None:
        self.answer(ua.ActivateSessionResponse())

    def _CloseSessionRequest(self, _: Any) -> None:
        self.answer(ua.CloseSessionResponse())

    def _ReadRequest(self, request: Any) -> None:
        response = ua.ReadResponse()
        response.Results = [self.value(wanted) for wanted in request.Parameters.NodesToRead]
        self.answer(response)

    def value(self, wanted: Any) -> Any:
        """What is read of one attribute of one node."""
        node, attribute = wanted.NodeId, wanted.AttributeId
        if node == ua.NodeId(2255, 0):
            return ua.DataValue(ua.Variant(self.server.uris, ua.VariantType.String))
        if node == ua.NodeId(2259, 0):
            return ua.DataValue(ua.Variant(0, ua.VariantType.Int32))
        if node.NamespaceIndex != 1:
            return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown))
        if attribute == ua.AttributeIds.NodeClass:
            return ua.DataValue(ua.Variant(2, ua.VariantType.Int32))
        if attribute == ua.AttributeIds.DataType:
            return ua.DataValue(ua.Variant(ua.NodeId(11), ua.VariantType.NodeId))
        if attribute == ua.AttributeIds.ValueRank:
            return ua.DataValue(ua.Variant(-1, ua.VariantType.Int32))
        if attribute == ua.AttributeIds.Value:
            return self.server.values.get(str(node.Identifier), double(1.5))
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadAttributeIdInvalid))

    def _CreateSubscriptionRequest(self, request: Any) -> None:
        response, wanted = ua.CreateSubscriptionResponse(), request.Parameters
        made = response.Parameters
        made.SubscriptionId, made.RevisedPublishingInterval = 77, wanted.RequestedPublishingInterval
        made.RevisedLifetimeCount, made.RevisedMaxKeepAliveCount = (
            wanted.RequestedLifetimeCount,
            wanted.RequestedMaxKeepAliveCount,
        )
        self.answer(response)

    def _CreateMonitoredItemsRequest(self, request: Any) -> None:
        response = ua.CreateMonitoredItemsResponse()
        for item in request.Parameters.ItemsToCreate:
            self.handles.append(item.RequestedParameters.ClientHandle)
            made = ua.MonitoredItemCreateResult()
            made.MonitoredItemId = len(self.handles)
            made.RevisedSamplingInterval = item.RequestedParameters.SamplingInterval
            made.RevisedQueueSize = item.RequestedParameters.QueueSize
            response.Results.append(made)
        self.answer(response)

    def _PublishRequest(self, _: Any) -> None:
        """Once a second the same value, as a server would whose machine runs."""
        self.waiting.append(self.request_id)
        if not self.server.silent:
            time.sleep(0.2)
            self.notify([(handle, double(2.5)) for handle in self.handles])

    def _RepublishRequest(self, _: Any) -> None:
        self.fault(ua.StatusCodes.BadMessageNotAvailable)

    def __getattr__(self, name: str) -> Any:
        if name.endswith("Request"):
            return lambda _: self.fault(ua.StatusCodes.BadServiceUnsupported)
        raise AttributeError(name)

    def fault(self, status: int) -> None:
        response = ua.ServiceFault()
        response.ResponseHeader.ServiceResult = ua.StatusCode(status)
        self.answer(response)


class Hostile:
    """`with Hostile(on={...}) as server`: serves until the end, every line in a thread of its own."""

    def __init__(self, on: dict[str, Evil] | None = None, port: int = 0) -> None:
        self.on: dict[str, Evil] = dict(on or {})
        self.uris, self.values, self.seen = list(URIS), dict[str, Any](), dict[str, int]()
        self.silent = False
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        self._lines: list[Line] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        # One that waits in accept() is not woken by close().
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop()

    def drop(self) -> None:
        """Close all lines."""
        lines, self._lines = self._lines, []
        for line in lines:
            with suppress(OSError):
                line.sock.shutdown(socket.SHUT_RDWR)
            line.sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._socket.accept()
                line = Line(self, sock)
                self._lines.append(line)
                threading.Thread(target=line.serve, daemon=True).start()


def double(value: float, time: datetime | None = None) -> Any:
    """A DataValue."""
    return ua.DataValue(ua.Variant(value, ua.VariantType.Double), SourceTimestamp=time or datetime.now(UTC))
