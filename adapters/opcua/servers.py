"""What servers can bear, as far as it is documented: a profile per product, and how limits combine. Pure.

    what it says of itself ──── recognise ─▶ ServerProfile ─┐
    its OperationLimits (Part 5, 6.3.11; 0: not told) ──────┼─ combine ─▶ Limits: the smallest of what is told
    `max_nodes` of the configuration ───────────────────────┘

Nodes in one request are at most what the server tells, at most what its profile knows, and at most `max_nodes`. Where
nobody wrote `max_nodes` we are careful besides: a profile's `batch`, 200 for a server that nobody knows. So a person can
go beyond our caution, never beyond what the server or its manual says.

Every figure and flag of a profile has its source in `sources`; what is not documented is left out and not guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

BATCH = 200  # nodes in one request to a server nobody knows: more is much slower on small servers
PUBLISH_REQUESTS = 8  # that wait at such a server: some allow only 10 (node-opcua#1175, opc-ua-client#7)
MOST = 1000  # nodes in one request, whatever a server allows: more wins nothing, and a lost answer costs more

# Nodes of namespace 0 with which a server tells its limits (Part 5, 6.3.2 and 6.3.11), by the names used below.
TOLD: Mapping[str, int] = {
    "read": 11705,
    "browse": 11710,
    "register": 11711,
    "translate": 11712,
    "monitor": 11714,
    "history": 12165,
    "sessions": 24095,
    "subscriptions": 24096,
    "items": 24097,
    "subscriptions_per_session": 24098,
    "items_per_subscription": 24104,
    "queue": 31916,
}
IDENTITY = (2254, 2262, 2263, 2261)  # ServerArray; ProductUri, ManufacturerName and ProductName of the BuildInfo


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """What is documented of one product. None: nothing is; sizes are nodes or items, times seconds."""

    name: str  # as in `server:`
    title: str
    marks: tuple[str, ...] = ()  # one of them is in what such a server says of itself, in small letters
    namespaces: tuple[str, ...] = ()  # or in one of its namespace URIs
    sources: Mapping[str, str] = field(default_factory=dict)  # of each figure and flag
    notes: tuple[tuple[str, str], ...] = ()  # what else is known, and who says so

    batch: int = BATCH  # nodes in one request, where nobody wrote `max_nodes`

    read: int | None = None  # nodes in one Read, and so on
    browse: int | None = None
    translate: int | None = None
    register: int | None = None
    monitor: int | None = None  # items in one CreateMonitoredItems
    history: int | None = None
    outstanding: int | None = None  # nodes of all requests under way, counted together
    references: int | None = None  # of one node in one answer to Browse; the rest by continuation point

    sessions: int | None = None
    subscriptions: int | None = None  # of all sessions together
    subscriptions_per_session: int | None = None
    items: int | None = None  # of all subscriptions together
    items_per_subscription: int | None = None
    queue: int | None = None  # values kept of one item
    publish_requests: int | None = None  # that may wait
    keep_alive: int | None = None  # publishing intervals, at most
    publishing: float | None = None  # the shortest
    sampling: float | None = None

    registering: bool | None = None  # RegisterNodes makes reading over and over cheaper
    deadband: bool | None = None  # has the filter (Part 4, 7.22.2)
    keeps_history: bool | None = None  # can be configured to
    first_read_is_bad: bool | None = None  # a node is Bad until somebody subscribes to it: that is no fault
    server_time: bool | None = None  # stamps values with its own time


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of a server at most. None: no limit is known."""

    read: int
    browse: int
    translate: int
    register: int
    monitor: int
    history: int
    outstanding: int | None
    references: int | None
    sessions: int | None
    subscriptions: int | None
    subscriptions_per_session: int | None
    items: int | None
    items_per_subscription: int | None
    queue: int | None
    publish_requests: int


_IN_ONE_REQUEST = ("read", "browse", "translate", "register", "monitor", "history")
_IN_ALL = (
    "outstanding", "references", "sessions", "subscriptions", "subscriptions_per_session", "items",
    "items_per_subscription", "queue",
)  # fmt: skip
FIGURES = (*_IN_ONE_REQUEST, *_IN_ALL, "publish_requests", "keep_alive", "publishing", "sampling")
FLAGS = ("registering", "deadband", "keeps_history", "first_read_is_bad", "server_time")


def combine(told: Mapping[str, object], profile: ServerProfile, max_nodes: int | None = None) -> Limits:
    """The smallest of what the server tells, the profile knows and the configuration says.

    `told` has the names of TOLD; what is absent, 0 or no whole number was not told.
    """
    careful = min(profile.batch, MOST) if max_nodes is None else max_nodes
    one_request = {name: _least(told, profile, name, careful) or careful for name in _IN_ONE_REQUEST}
    in_all = {name: _least(told, profile, name) for name in _IN_ALL}
    if in_all["outstanding"] is not None:
        one_request = {name: min(size, in_all["outstanding"]) for name, size in one_request.items()}
    waiting = PUBLISH_REQUESTS if profile.publish_requests is None else min(PUBLISH_REQUESTS, profile.publish_requests)
    return Limits(**one_request, **in_all, publish_requests=waiting)  # type: ignore[arg-type]  # by name, each once


def _least(told: Mapping[str, object], profile: ServerProfile, name: str, *more: int) -> int | None:
    candidates = (told.get(name), getattr(profile, name), *more)
    known = [n for n in candidates if isinstance(n, int) and not isinstance(n, bool) and n > 0]
    return min(known, default=None)


def recognise(says: Iterable[object], namespaces: Sequence[str] = ()) -> ServerProfile:
    """The profile of a server by what it says of itself; GENERIC where nobody knows it.

    `says`: application URI, product URI, manufacturer, product name, in any order; what is no text is skipped. The
    namespaces count only if nothing there is known: a server may show those of others.
    """
    words = [text.lower() for text in says if isinstance(text, str)]
    uris = [uri.lower() for uri in namespaces if isinstance(uri, str)]
    for texts, marks in ((words, "marks"), (uris, "namespaces")):
        for profile in PROFILES.values():
            if any(mark in text for mark in getattr(profile, marks) for text in texts):
                return profile
    return GENERIC


# --- the profiles ----------------------------------------------------------------------------------------------------

_S7_LIMITS = "Siemens entry 109755846, system limits of the OPC UA server (02/2024)"
_S7_MANUAL = "Siemens, Communication function manual A5E03735815"
_UMH = "measured by united-manufacturing-hub/benthos-umh, server_profiles.go (11/2025)"
_CODESYS = "CODESYS help, OPC UA Server Configuration Settings (V3.5 SP17)"
_NODE_OPCUA = "node-opcua, server_capabilities.ts, the default"
_OPEN62541 = "open62541, ua_config_default.c"
_MILO = "eclipse-milo/milo, OpcUaServerConfigLimits.java, the default"
_M580 = "Schneider Electric, BMENUA0100 help, Limitations"

GENERIC = ServerProfile("generic", "any other")

_KNOWN = (
    ServerProfile(
        "s7-1200",
        "Siemens S7-1200, from firmware 4.4",
        marks=("s7-1200",),  # urn:SIMATIC.S7-1200.OPC-UA.Application:…
        batch=100,
        read=2000,
        browse=2000,
        monitor=1000,
        sessions=10,
        subscriptions_per_session=5,
        items=1000,
        publishing=0.2,
        sampling=0.1,
        deadband=False,
        sources={
            "batch": "more than 200 items in a call take many times as long: benthos-umh, docs, on the same entry",
            **dict.fromkeys(("read", "browse", "monitor"), f"told by a server, {_UMH}"),
            **dict.fromkeys(
                ("sessions", "subscriptions_per_session", "items", "publishing", "sampling"),
                f"{_S7_LIMITS}; data sheet of 6ES7214-1AG40-0XB0",
            ),
            "deadband": "profile Micro Embedded Device 2017 (Part 7): no DataChangeFilter",
        },
    ),
    ServerProfile(
        "s7-1500",
        "Siemens S7-1500",
        marks=("s7-1500",),  # urn:SIMATIC.S7-1500.OPC-UA.Application:…, https://www.siemens.com/s7-1500
        read=1000,
        monitor=1000,
        outstanding=1000,
        references=100,
        sessions=32,
        registering=True,
        deadband=True,
        sources={
            "read": "epics-modules/opcua#177: 1000 nodes in one call, in every firmware",
            "monitor": "OPCFoundation/UA-.NETStandard#564",
            "outstanding": "epics-modules/opcua#201: 1000 nodes of all requests that are not answered yet",
            "references": "OPCFoundation/UA-.NETStandard#1654",
            "sessions": f"{_S7_LIMITS}, the smallest CPU",
            "registering": f"{_S7_MANUAL}, Faster access through registration",
            "deadband": f"{_S7_MANUAL}, What you need to know about OPC UA: a subscription with a deadband",
        },
        notes=(
            ("items above what the CPU bears are accepted and never reported", "OPCFoundation/UA-.NETStandard#564"),
            ("publishing and sampling are limited where the CPU is configured", _S7_MANUAL),
            ("registered nodes can be subscribed to from firmware 2.6 only", "epics-modules/opcua, S7-1500 example"),
            ("each CPU has a number of items that is recommended, 2,000 to 10,000", _S7_LIMITS),
        ),
    ),
    ServerProfile(
        "twincat",
        "Beckhoff TwinCAT (TF6100)",
        marks=("tcopcuaserver", "beckhoff", "twincat"),
        namespaces=("urn:beckhoffautomation:",),
        keeps_history=True,
        sources={"keeps_history": "Beckhoff infosys, TF6100, Historical Access, where a variable is configured for it"},
        notes=(("what it keeps in memory is gone after a restart", "Beckhoff infosys, TF6100"),),
    ),
    ServerProfile(
        "codesys",
        "CODESYS runtime, from V3.5 SP17 (WAGO and others)",
        marks=("codesys", "3s - smart software", "3s%20-%20smart%20software"),
        namespaces=("codesysspv3/",),
        batch=100,
        read=100,
        browse=100,
        translate=100,
        register=100,
        history=100,
        sessions=100,
        sampling=0.1,
        sources={
            **dict.fromkeys(("batch", "read", "browse", "translate", "register", "history", "sessions"), _CODESYS),
            "sampling": f"{_CODESYS}, ItemMinSamplingRate",
        },
        notes=(
            ("each attribute of a node counts as a node of a Read", "hivemq/hivemq-edge#1759"),
            ("a secure channel that is not renewed ends after 3 minutes", "apache/plc4x#1732"),
        ),
    ),
    ServerProfile(
        "kepware",
        "PTC Kepware KEPServerEX, ThingWorx Kepware Server",
        marks=("kepserver", "kepware", "thingworx kepware"),
        batch=MOST,
        references=998,
        sessions=128,
        first_read_is_bad=True,
        sources={
            "batch": "benthos-umh, server_profiles.go: 1000 items in a call",
            "references": "open62541/open62541#4005",
            "sessions": "the default, configurable: benthos-umh, server_profiles.go",
            "first_read_is_bad": "FreeOpcUa/python-opcua#1145: Bad until the device was asked for a subscription",
        },
        notes=(
            ("one bad tag makes a Read wait for its device, some seconds", "FreeOpcUa/python-opcua#1004"),
            ("has no diagnostics of sessions", "node-opcua/node-opcua#1175"),
            ("has few continuation points: take one node after the other", "Azure/Industrial-IoT#306"),
        ),
    ),
    ServerProfile(
        "prosys",
        "Prosys OPC UA Simulation Server",
        marks=("prosys",),  # urn:prosysopc.com:OPCUA:SimulationServer
        batch=MOST,
        read=10_000,
        browse=10_000,
        monitor=10_000,
        items_per_subscription=10_000,
        sources={
            "batch": "below what it tells",
            **dict.fromkeys(("read", "browse", "monitor"), f"told by a server, {_UMH}"),
            "items_per_subscription": "slow beyond it: benthos-umh, server_profiles.go, and the forum of Prosys",
        },
    ),
    ServerProfile(
        "node-opcua",
        "node-opcua, and Node-RED servers made with it",
        marks=("nodeopcua", "node-opcua"),
        batch=MOST,
        sessions=10,
        subscriptions=100,
        subscriptions_per_session=10,
        items=1_000_000,
        items_per_subscription=100_000,
        queue=60_000,
        publish_requests=100,
        sampling=0.05,
        deadband=True,
        sources={
            "batch": f"{_NODE_OPCUA}: no limit",
            **dict.fromkeys(
                ("sessions", "subscriptions", "subscriptions_per_session", "items", "items_per_subscription", "queue"),
                _NODE_OPCUA,
            ),
            "publish_requests": "node-opcua, server_session.ts",
            "sampling": "node-opcua, monitored_item.ts",
            "deadband": "node-opcua, monitored_item.ts",
        },
        notes=(("old versions cut a list that is too long instead of refusing it", "node-opcua/node-opcua#281"),),
    ),
    ServerProfile(
        "open62541",
        "open62541 with its default configuration",
        marks=("open62541",),
        batch=MOST,
        sessions=100,
        queue=100,
        publish_requests=512,
        keep_alive=100,
        publishing=0.1,
        sampling=0.05,
        deadband=True,
        sources={
            "batch": f"{_OPEN62541}: no limit",
            **dict.fromkeys(
                ("sessions", "queue", "publish_requests", "keep_alive", "publishing", "sampling"), _OPEN62541
            ),
            "deadband": "open62541, ua_services_monitoreditem.c, where it is built with UA_ENABLE_DA",
        },
        notes=(("has few continuation points for a session", "open62541/open62541#3816"),),
    ),
    ServerProfile(
        "ignition",
        "Inductive Automation Ignition",
        marks=("inductiveautomation", "inductive automation"),  # urn:inductiveautomation:ignition:opcua:server
        batch=MOST,
        read=10_000,
        browse=250,
        translate=250,
        register=250,
        monitor=10_000,
        history=250,
        sources={
            "batch": "below what it tells",
            **dict.fromkeys(("read", "browse", "monitor"), f"told by a server, {_UMH}"),
            **dict.fromkeys(("translate", "register", "history"), f"{_MILO}, on which it stands"),
        },
    ),
    ServerProfile(
        "milo",
        "servers made with Eclipse Milo",
        marks=("eclipse milo", "digitalpetri", "urn:eclipse:milo"),
        batch=MOST,
        read=10_000,
        browse=250,
        translate=250,
        register=250,
        monitor=10_000,
        history=250,
        sessions=100,
        publishing=0.01,
        sources=dict.fromkeys(
            ("batch", "read", "browse", "translate", "register", "monitor", "history", "sessions", "publishing"), _MILO
        ),
    ),
    ServerProfile(
        "netstandard",
        "OPC Foundation UA-.NETStandard (reference server)",
        marks=("opcfoundation", "opc foundation"),
        publish_requests=20,
        sources={"publish_requests": "OPCFoundation/UA-.NETStandard#1455: the default of the SDK"},
    ),
    ServerProfile(
        "omron-nx",
        "Omron NJ and NX CPU",
        marks=("omron",),
        namespaces=("urn:omron:nxopcuaserver",),
        sessions=5,
        items=2000,
        sources=dict.fromkeys(("sessions", "items"), "Omron W588, NJ/NX-series CPU Unit OPC UA User's Manual"),
        notes=(
            ("some models bear 20,000 items: `server: generic` there", "Omron W588"),
            ("its structures do not load in every client", "FreeOpcUa/opcua-asyncio#899"),
        ),
    ),
    ServerProfile(
        "br",
        "B&R Automation Runtime",
        marks=("b&r", "bernecker", "br-automation"),
        keep_alive=200,
        publishing=0.05,
        sources=dict.fromkeys(("keep_alive", "publishing"), "Ipesoft D2000, OPC UA client: what B&R always revised"),
        notes=(("machines run on with an expired certificate", "node-opcua/node-opcua#1148"),),
    ),
    ServerProfile(
        "plcnext",
        "Phoenix Contact PLCnext",
        marks=("plcnext", "phoenix contact", "phoenixcontact"),
        sessions=3,
        sampling=0.1,
        sources=dict.fromkeys(
            ("sessions", "sampling"), "PLCnext Info Center, device-specific OPC UA settings: AXC F 1152, the smallest"
        ),
    ),
    ServerProfile(
        "modicon-m580",
        "Schneider Electric Modicon M580 (BMENUA0100)",
        marks=("bmenua",),
        sessions=10,
        subscriptions=40,
        items=50_000,
        queue=100,
        publishing=0.25,
        sampling=0.125,
        sources=dict.fromkeys(("sessions", "subscriptions", "items", "queue", "publishing", "sampling"), _M580),
        notes=(("with fast sampling, 20 ms, it bears 2,000 items only", _M580),),
    ),
    ServerProfile(
        "rx3i",
        "Emerson (GE) PACSystems RX3i",
        marks=("rx3i", "pacsystems"),
        sessions=5,
        subscriptions=10,
        items=12_500,
        sources={
            "sessions": "GFK-2224, chapter 10, OPC UA Server",
            "subscriptions": "the same; shared by all sessions",
            "items": "the same, addressable elements",
        },
    ),
    ServerProfile(
        "wincc",
        "Siemens WinCC",
        marks=("wincc",),
        server_time=False,
        sources={"server_time": "FreeOpcUa/python-opcua#298"},
    ),
)

PROFILES: Mapping[str, ServerProfile] = {profile.name: profile for profile in (*_KNOWN, GENERIC)}
AUTO = "auto"
NAMES = (AUTO, *PROFILES)


def profile_of(name: str, says: Iterable[object], namespaces: Sequence[str] = ()) -> ServerProfile:
    """The one that is configured; with `auto` the one that is recognised."""
    return recognise(says, namespaces) if name == AUTO else PROFILES[name]
