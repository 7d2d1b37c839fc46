"""An OPC UA server on asyncua with the same machine as node_opcua/server.mjs.

Its options are its last argument, as JSON. It takes commands as JSON lines on its input, answers each with a line on its
output, and ends with its parent.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncua.ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from cryptography.x509.oid import ExtendedKeyUsageOID

ua: Any = asyncua.ua
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
T = ua.VariantType


class Users(UserManager):  # type: ignore[misc]
    def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
        if username is None or (username, password) == ("operator", "op-secret"):
            return User(role=UserRole.User, name=username or "anonymous")
        return None


class Cnc:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.server = Server(user_manager=Users())
        self.types: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.ticks = 0
        self.index = 0
        self.number = options["count_from"]

    async def start(self) -> None:
        server, options = self.server, self.options
        await server.init()
        await server.set_application_uri("urn:shop:asyncua")
        server.set_endpoint(f"opc.tcp://127.0.0.1:{options['port']}")
        tokens = [ua.UserNameIdentityToken] + [ua.AnonymousIdentityToken] * options["anonymous"]
        server.set_identity_tokens(tokens)
        names = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
        kinds = [getattr(ua.SecurityPolicyType, f"{n}_{m}") for n in names for m in ("Sign", "SignAndEncrypt")]
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity, *kinds])
        folder = Path(options["folder"])
        key, certificate = folder / "key.pem", folder / "certificate.der"
        usage = [ExtendedKeyUsageOID.SERVER_AUTH]
        await setup_self_signed_certificate(key, certificate, "urn:shop:asyncua", "127.0.0.1", usage, {})
        await server.load_certificate(certificate)
        await server.load_private_key(key)
        for uri in options["namespaces"]:  # whoever keeps our old index gets this
            index = await server.register_namespace(uri)
            name = ua.QualifiedName("SpindleSpeed", index)
            await server.nodes.objects.add_variable(ua.NodeId("CNC1.SpindleSpeed", index), name, -1.0)
        self.index = await server.register_namespace("urn:shop:cnc")
        self.machine = await server.nodes.objects.add_object(
            ua.NodeId("CNC1", self.index), ua.QualifiedName("CNC1", self.index)
        )
        modes = await server.nodes.enum_data_type.add_data_type(
            ua.NodeId("CncMode", self.index), ua.QualifiedName("CncMode", self.index)
        )
        strings = [ua.LocalizedText(text) for text in ("Off", "Setup", "Manual", "Auto")]
        await modes.add_property(ua.NodeId(), ua.QualifiedName("EnumStrings", 0), strings)
        speed = await self.add("s=CNC1.SpindleSpeed", T.Double, 0.0)
        await unit(speed, 5394509, "r/min", 0, 12000)
        await unit(await self.add("s=CNC1.CoolantTemperature", T.Float, 21.5), 4408652, "°C", -20, 120)
        await self.add("s=CNC1.PartCount", T.UInt32, 0)
        await self.add("s=CNC1.Program", T.String, 'O1234 "façade" №5')
        await self.add("s=CNC1.DoorOpen", T.Boolean, False)
        await self.add("s=CNC1.Mode", T.Int32, 3, datatype=modes.nodeid)
        await self.add("s=CNC1.Int64Min", T.Int64, -(2**63))
        await self.add("s=CNC1.Int64Max", T.Int64, 2**63 - 1)
        await self.add("s=CNC1.UInt64Max", T.UInt64, 2**64 - 1)
        await self.add("s=CNC1.Broken", T.Double, 42.0, "BadSensorFailure")
        await self.add("s=CNC1.Doubtful", T.Double, 17.5, "UncertainLastUsableValue")
        await self.add("s=CNC1.LastService", T.DateTime, datetime(2024, 2, 29, 6, 30, 0, 250_000, UTC))
        made = datetime(2004, 5, 6, 7, 8, 9, 125_000, UTC)
        await self.add("s=CNC1.SerialNumber", T.String, "SN-4711", time=made)
        await self.add("s=CNC1.AxisPositions", T.Double, [1.5, -2.25, 300.0])
        if options["count_ms"]:
            self.ledger = os.open(options["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            await self.add("s=CNC1.Count", T.Int64, self.number, time=self.written_down())
        await server.start()

    # ---- variables

    def node(self, id: str) -> Any:
        return ua.NodeId.from_string(f"ns={self.index};{id}")

    async def add(
        self, id: str, type: Any, value: Any, status: str = "Good", time: datetime | None = None, **more: Any
    ) -> Any:
        name = id[2:].removeprefix("CNC1.")
        variable = await self.machine.add_variable(
            self.node(id), ua.QualifiedName(name, self.index), value, type, **more
        )
        self.types[id] = type
        await self.set(id, value, status, time)
        return variable

    async def set(self, id: str, value: Any = None, status: str = "Good", time: datetime | None = None) -> None:
        self.values[id] = value = self.values.get(id) if value is None else value
        now = time or datetime.now(UTC)
        code = ua.StatusCode(getattr(ua.StatusCodes, status))
        data = ua.DataValue(ua.Variant(value, self.types[id]), code, now, datetime.now(UTC))
        await self.server.write_attribute_value(self.node(id), data)

    # ---- what changes

    async def tick(self) -> None:
        self.ticks += 1
        await self.set("s=CNC1.SpindleSpeed", self.ticks % 4000 / 4)
        await self.set("s=CNC1.PartCount", self.ticks // 10)

    async def count(self) -> None:
        self.number += 1
        await self.set("s=CNC1.Count", self.number, time=self.written_down())

    def written_down(self) -> datetime:
        """The number goes into the ledger before anybody can have it."""
        now = time.time_ns() // 1000 * 1000
        os.write(self.ledger, f"{self.number} {now}\n".encode())
        return datetime.fromtimestamp(now // 1_000_000_000, UTC).replace(microsecond=now // 1000 % 1_000_000)

    # ---- commands

    async def carry_out(self, command: str, given: dict[str, Any]) -> Any:
        service = self.server.iserver.subscription_service
        open_sessions = list(self.server.iserver._external_sessions.values())
        if command == "sessions":
            return len(open_sessions)
        if command == "subscriptions":
            return len(service.subscriptions)
        if command == "kill_sessions":
            for session in open_sessions:
                await session.close_session(True)
        elif command == "delete_subscriptions":
            await service.delete_subscriptions(list(service.subscriptions))
        elif command == "tick":
            await self.tick()
        elif command == "remove":
            await self.server.delete_nodes([self.server.get_node(self.node(given["id"]))])
        elif command in ("set", "add"):
            more = {"status": given.get("status", "Good")}
            if "time" in given:
                more["time"] = datetime.fromisoformat(given["time"])
            if command == "add":
                type = getattr(T, given["type"])
                await self.add(given["id"], type, value_of(given["value"], type), **more)
            else:
                value = given.get("value")
                type = self.types[given["id"]]
                await self.set(given["id"], None if value is None else value_of(value, type), **more)
        else:
            raise ValueError(f"no command {command}")
        return None


async def unit(variable: Any, code: int, text: str, low: float, high: float) -> None:
    """The two properties of an AnalogItemType (Part 8, 5.3.2)."""
    information = ua.EUInformation()
    information.NamespaceUri = "http://www.opcfoundation.org/UA/units/un/cefact"
    information.UnitId, information.DisplayName = code, ua.LocalizedText(text)
    await variable.add_property(ua.NodeId(), ua.QualifiedName("EngineeringUnits", 0), information)
    await variable.add_property(ua.NodeId(), ua.QualifiedName("EURange", 0), ua.Range(low, high))


def value_of(value: Any, type: Any) -> Any:
    """What JSON does not have."""
    if isinstance(value, list):
        return [value_of(each, type) for each in value]
    if type in (T.Float, T.Double):
        return float(value)
    if type.name.startswith(("Int", "UInt")):
        return int(value)
    return datetime.fromisoformat(value) if type is T.DateTime else value


async def every(seconds: float, what: Callable[[], Any]) -> None:
    """On a clock without drift; what comes too late is done at once."""
    due = time.monotonic()
    while True:
        due += seconds
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await what()


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def main() -> None:
    options = json.loads(sys.argv[-1])
    cnc = Cnc(options)
    await cnc.start()
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    loop.add_signal_handler(signal.SIGTERM, commands.feed_eof)
    tasks = []
    for key, what in (("tick_ms", cnc.tick), ("count_ms", cnc.count)):
        if options[key]:
            tasks.append(asyncio.create_task(every(options[key] / 1000, what)))
    say({"ready": True})
    while line := await commands.readline():
        given = json.loads(line)
        try:
            say({"result": await cnc.carry_out(given.pop("command"), given)})
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
    for task in tasks:
        task.cancel()
    await cnc.server.stop()


asyncio.run(main())
