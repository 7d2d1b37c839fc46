"""Profiles of servers: who is recognised by what, how limits combine, and that nothing is without its source."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.opcua import servers
from adapters.opcua.config import OpcuaConnection
from adapters.opcua.servers import FIGURES, FLAGS, GENERIC, PROFILES, ServerProfile, combine, profile_of, recognise

SERVERS = Path(__file__).parents[2] / "adapters" / "opcua" / "SERVERS.md"
NO_LIMITS: dict[str, object] = {}


@pytest.mark.parametrize(
    ("name", "says"),
    [  # as these servers were seen to call themselves: application URI, product URI, manufacturer, product
        ("s7-1500", ["urn:SIMATIC.S7-1500.OPC-UA.Application:PLC_1", "https://www.siemens.com/s7-1500", None, None]),
        ("s7-1200", ["urn:SIMATIC.S7-1200.OPC-UA.Application:PLC_1", None, None, None]),
        ("twincat", ["urn:CP-4A2AC8:BeckhoffAutomation:TcOpcUaServer:1", None, None, "TcOpcUaServer"]),
        (
            "codesys",
            ["urn:box:3S%20-%20Smart%20Software%20Solutions%20GmbH:CODESYS%20Control%20Win%20V3:OPCUA:Server", "", "", ""],
        ),
        ("kepware", ["urn:WIN:Kepware.KEPServerEX.V6:UA%20Server", "urn:kepware", "PTC", "KEPServerEX"]),
        ("prosys", ["urn:box:OPCUA:SimulationServer", "urn:prosysopc.com:OPCUA:SimulationServer", "Prosys OPC Ltd", ""]),
        (
            "node-opcua",
            ["urn:box:NodeOPCUA-Server", "NodeOPCUA-Server", "NodeOPCUA : MIT Licence ( see http://node-opcua.github.io/)", ""],
        ),
        ("open62541", ["urn:open62541.server.application", "http://open62541.org", "open62541", "open62541 OPC UA Server"]),
        ("ignition", ["urn:inductiveautomation:ignition:opcua:server:20bd682b-9fa1-4741-9758-341ca9ee66fb", "", "", ""]),
        ("netstandard", ["urn:box:UA:ReferenceServer", "http://opcfoundation.org/Quickstart/ReferenceServer/v1.04", "", ""]),
        ("generic", ["urn:acme:press", "urn:acme", "Acme", "Press 7"]),
        ("generic", [None, None, None, None]),
        ("generic", [7, b"\xff", ["KEPServerEX"]]),  # what is no text is no name
    ],
)  # fmt: skip
def test_recognised_by_what_it_says(name: str, says: list[object]) -> None:
    assert recognise(says).name == name


def test_recognised_by_a_namespace_only_if_it_says_nothing_that_is_known() -> None:
    plc = ["http://opcfoundation.org/UA/", "urn:BeckhoffAutomation:Ua:PLC1"]
    assert recognise(["urn:box"], plc).name == "twincat"
    assert recognise([], ["CODESYSSPV3/3S/IecVarAccess"]).name == "codesys"
    assert recognise([], ["urn:OMRON:NxOpcUaServer:FactoryAutomation"]).name == "omron-nx"
    assert recognise(["KEPServerEX"], plc).name == "kepware", "a server that shows the nodes of a TwinCAT"
    assert recognise(["urn:box"], ["http://opcfoundation.org/UA/"]).name == "generic", "everybody has this one"


def test_the_configuration_chooses() -> None:
    assert profile_of("auto", ["KEPServerEX"]).name == "kepware"
    assert profile_of("s7-1200", ["KEPServerEX"]).name == "s7-1200"
    assert profile_of("generic", ["KEPServerEX"]) is GENERIC


def test_a_server_nobody_knows_is_treated_with_care() -> None:
    limits = combine(NO_LIMITS, GENERIC)
    assert (limits.read, limits.monitor, limits.browse, limits.translate, limits.register, limits.history) == (200,) * 6
    assert limits.publish_requests == 8
    assert (limits.items, limits.outstanding, limits.sessions) == (None, None, None)


@pytest.mark.parametrize(
    ("told", "known", "max_nodes", "read"),
    [  # MaxNodesPerRead, read and batch of the profile, max_nodes of the configuration
        (None, (None, 200), None, 200),
        (0, (None, 200), None, 200),  # Part 5, 6.3.11: 0 is no limit
        (-1, (None, 200), None, 200),
        (50, (None, 200), None, 50),
        (5000, (None, 200), None, 200),
        (5000, (100, 200), None, 100),
        (50, (100, 200), None, 50),
        (None, (100, 200), None, 100),
        (None, (2000, 1000), None, 1000),
        (None, (20000, 20000), None, 1000),  # never more by itself
        (None, (None, 200), 30, 30),
        (None, (None, 200), 3000, 3000),  # a person may go beyond our caution,
        (500, (None, 200), 3000, 500),  # not beyond what the server tells
        (None, (100, 200), 3000, 100),  # or what is documented
        (20, (100, 200), 30, 20),
        (True, (None, 200), None, 200),
        ("12", (None, 200), None, 200),
    ],
)
def test_the_smallest_limit_counts(
    told: object, known: tuple[int | None, int], max_nodes: int | None, read: int
) -> None:
    profile = ServerProfile("x", "X", read=known[0], batch=known[1])
    assert combine({"read": told}, profile, max_nodes).read == read


def test_each_limit_is_its_own() -> None:
    limits = combine({"read": 50, "monitor": 0, "items": 700, "queue": 5}, PROFILES["s7-1200"])
    assert (limits.read, limits.monitor, limits.browse) == (50, 100, 100)
    assert (limits.items, limits.queue, limits.subscriptions_per_session, limits.sessions) == (700, 5, 5, 10)


def test_requests_under_way_are_counted_together() -> None:
    """An S7-1500 counts the nodes of all requests it has not answered: epics-modules/opcua#201."""
    limits = combine(NO_LIMITS, PROFILES["s7-1500"], 5000)
    assert (limits.outstanding, limits.read, limits.monitor, limits.translate) == (1000,) * 4


def test_publish_requests_are_never_more_than_is_safe() -> None:
    assert combine(NO_LIMITS, ServerProfile("x", "X", publish_requests=3)).publish_requests == 3
    assert combine(NO_LIMITS, PROFILES["open62541"]).publish_requests == 8, "it allows 512; nobody needs them"


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_every_figure_has_its_source(profile: ServerProfile) -> None:
    stated = {name for name in (*FIGURES, *FLAGS) if getattr(profile, name) is not None}
    stated |= {"batch"} if profile.batch != servers.BATCH else set()
    assert stated == set(profile.sources)
    assert all(profile.sources.values())
    assert all(what and source for what, source in profile.notes)
    assert all(mark == mark.lower() for mark in (*profile.marks, *profile.namespaces))
    assert all(getattr(profile, name) is None or getattr(profile, name) > 0 for name in FIGURES)


def test_a_kind_of_server_that_is_not_known_is_refused() -> None:
    def connection(server: str) -> OpcuaConnection:
        return OpcuaConnection.model_validate({"protocol": "opcua", "url": "opc.tcp://plc", "server": server})

    assert connection("s7-1500").server == "s7-1500"
    assert OpcuaConnection.model_validate({"protocol": "opcua", "url": "opc.tcp://plc"}).server == "auto"
    with pytest.raises(ValidationError) as refused:
        connection("s7-150")
    error = refused.value.errors()[0]
    assert (error["loc"], error["msg"]) == (("server",), "'s7-150' is not a kind of server that is known")
    assert "'s7-1500'" in error["ctx"]["hint"]


def test_the_table_for_people_has_every_kind_of_server_and_its_figures() -> None:
    rows = [
        line.split("|")
        for line in SERVERS.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and "`server:`" not in line
    ]
    told = {row[1].strip().strip("`"): [cell.strip().replace(",", "") for cell in row[2:]] for row in rows}
    assert told.keys() == PROFILES.keys()
    for name, profile in PROFILES.items():
        cells = told[name]
        assert cells[1] == str(profile.batch), name
        for figure in (profile.sessions, profile.items, profile.items_per_subscription, profile.outstanding):
            assert figure is None or any(str(figure) in cell for cell in cells[2:]), (name, figure)
