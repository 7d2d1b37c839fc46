"""What we ship for Prometheus is accepted by its own tools, and each alert does what alerts.test.yml says."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml
from typer.main import get_command

from gateway.cli.app import app
from parts.prometheus import FOLDER, promtool

RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]


def test_the_configuration_is_valid():
    done = promtool("check", "config", str(FOLDER / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


def test_each_alert_does_what_is_said_of_it():
    done = promtool("test", "rules", "alerts.test.yml", cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried():
    tried = (FOLDER / "alerts.test.yml").read_text()
    assert [name for name in NAMES if name not in tried] == []


@pytest.mark.parametrize(
    ("alert", "change"),
    [
        ("MachineOffline", ("for: 5m", "for: 50m")),
        ("ReadingsLost", ("gateway_readings_lost_total[15m]", "gateway_messages_sent_total[15m]")),
        (
            "ReadingsLost",
            ("          or (gateway_readings_lost_total > 0 unless gateway_readings_lost_total offset 15m)\n", ""),
        ),
        ("SafeMode", ("== 1", "== 0")),
        ("CertificateEnds", ("30 * 86400", "3 * 86400")),
        ("BufferFilling", ("4 * 3600", "1 * 3600")),
        ("GatewayRestarts", ("> 3", "> 30")),
    ],
)
def test_a_rule_that_is_wrong_is_found(alert, change, tmp_path):
    """The control: the tests above can fail."""
    text = (FOLDER / "alerts.yml").read_text()
    begin = text.index(f"alert: {alert}")
    wrong = text[:begin] + text[begin:].replace(*change, 1)
    assert wrong != text
    (tmp_path / "alerts.yml").write_text(wrong)
    shutil.copy(FOLDER / "alerts.test.yml", tmp_path)
    assert promtool("test", "rules", "alerts.test.yml", cwd=tmp_path).returncode == 1


def test_the_commands_that_are_named_exist():
    groups = get_command(app).commands
    named = re.findall(r"`gateway (\w[\w-]*)", (FOLDER / "alerts.yml").read_text())
    assert len(named) > 10
    assert set(named) <= set(groups)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_alert_says_what_to_do_in_both_languages(rule):
    notes = rule["annotations"]
    assert set(notes) == {"summary", "summary_vi", "description", "description_vi"}
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    for key in ("summary", "description"):
        assert notes[key] != notes[f"{key}_vi"]
        assert re.search("[ạảấầậắặẹếềệỉịọốồộớờợụứừựýỹđăâêôơưàáãèéìíòóùú]", notes[f"{key}_vi"]), "not in Vietnamese"
        labels = [set(re.findall(r"\$(?:labels\.\w+|value)", notes[each])) for each in (key, f"{key}_vi")]
        assert labels[0] == labels[1]
