"""The types by which companion specifications are recognised, looked up in the nodesets that are published."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from adapters.opcua.tools import companion
from adapters.opcua.tools.companion import Machine
from parts.node import PACKAGES

SHARED = Path(__file__).parents[4] / "shared" / "nodesets"
XML = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
# Their nodesets do not come with node-opcua: OPC 40223, 7.1 and Annex A; OPC 10031-4 before its second edition.
ELSEWHERE = {("http://opcfoundation.org/UA/Pumps/", "PumpType")}
OF_SHARED = {("http://opcfoundation.org/UA/PlasticsRubber/IMM2MES/", "IMM_MES_InterfaceType")}
FIRST_EDITION = {("http://opcfoundation.org/UA/ISA95-JOBCONTROL/", "ISA95JobOrderReceiverObjectType")}


def names_in(file: Path, elements: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Namespace and browse name of the nodes a nodeset defines."""
    root = ET.parse(file).getroot()
    uris = ["http://opcfoundation.org/UA/", *(uri.text or "" for uri in root.iter(f"{XML}Uri"))]
    for element in elements:
        for node in root.iter(f"{XML}{element}"):
            index, colon, name = node.get("BrowseName", "").partition(":")
            yield (uris[int(index)], name) if colon else (uris[0], index)


@cache
def published() -> frozenset[tuple[str, str]]:
    folder = PACKAGES / "node_modules" / "node-opcua-nodesets" / "nodesets"
    kinds = ("UAObjectType", "UAObject", "UAVariable")
    return frozenset(name for file in folder.glob("*.xml") for name in names_in(file, kinds))


@pytest.mark.parametrize("type", sorted({each.type for each in (*companion.SPECIFICATIONS, *companion.PARTS)}))
def test_every_type_is_of_its_specification(type):
    if type not in ELSEWHERE | OF_SHARED | FIRST_EDITION:
        assert type in published()


@pytest.mark.shared
@pytest.mark.parametrize("type", sorted(OF_SHARED))
def test_and_those_of_other_nodesets(type):
    assert type in {name for file in SHARED.glob("*.xml") for name in names_in(file, ("UAObjectType",))}


@pytest.mark.parametrize("counter", sorted(companion.COUNTERS - {(companion.PACKML, "AccCount")}))
def test_every_counter_is_of_its_specification(counter):
    """AccCount is a field of PackMLCountDataType, not a node."""
    assert counter in published()


def test_there_is_a_folder_of_machines_and_one_of_devices():
    assert {(companion.MACHINERY, "Machines"), (companion.DI, "DeviceSet"), (companion.DI, "DeviceType")} <= published()


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        ({}, ""),
        ({"Manufacturer": "Acme", "Model": "X 1", "SerialNumber": "7"}, "Acme X 1, serial number 7"),
        ({"DeviceClass": "pump", "YearOfConstruction": "2021", "Location": "hall 2"}, "pump, built 2021, hall 2"),
        ({"Manufacturer": "Acme", "ProductCode": "P-9", "YearOfConstruction": "0"}, "Acme P-9"),
    ],
)
def test_what_a_machine_says_of_itself(identity, text):
    assert Machine(1, identity=identity).description == text
