"""The bill of materials: every pinned file with its hash, in a form that tools read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PINNED = re.compile(
    r"^(?P<what>[A-Za-z0-9][\w.-]*==\S+(?: ; [^\\]*)?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}.*\n)+)",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def sbom(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"
    env = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(["bash", ROOT / "deploy" / "sbom.sh", file], check=True, capture_output=True, env=env)
    return file.read_text()


def pinned() -> dict[str, tuple[str, set[str]]]:
    """Name: version and hashes, of what is installed on this system."""
    found = {}
    for match in PINNED.finditer((ROOT / "requirements.lock").read_text()):
        requirement = Requirement(match["what"])
        if requirement.marker is None or requirement.marker.evaluate():
            version = str(requirement.specifier).removeprefix("==")
            found[requirement.name] = version, set(re.findall(r"sha256:([0-9a-f]{64})", match["hashes"]))
    return found


def test_every_pinned_package_is_in_it_with_its_hashes(sbom):
    parts: dict[str, dict[str, Any]] = {part["name"]: part for part in json.loads(sbom)["components"]}
    assert len(pinned()) > 40
    for name, (version, hashes) in pinned().items():
        part = parts[name]
        assert part["purl"].startswith(f"pkg:pypi/{name}@{version}")
        found = {h["content"] for reference in part["externalReferences"] for h in reference.get("hashes", [])}
        assert found == hashes, name


def test_it_says_what_it_is_of(sbom):
    component = json.loads(sbom)["metadata"]["component"]
    assert (component["name"], component["type"]) == ("shopfloor-gateway", "application")


def test_it_is_valid(sbom):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom) is None


def test_what_is_not_would_be_noticed(sbom):
    """Negative control."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom.replace('"library"', '"libary"')) is not None


def test_it_is_the_same_each_time(sbom, tmp_path):
    env = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(
        ["bash", ROOT / "deploy" / "sbom.sh", tmp_path / "again.json"], check=True, capture_output=True, env=env
    )
    assert (tmp_path / "again.json").read_text() == sbom
