"""The service under a real systemd, out of the package, with the sandbox it is shipped with."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

import pytest

from deploy.plant import GATEWAY, TEXT, UNIT, audit, configure, drop_in, install, rows, wait_for_more
from parts.process import wait_until
from parts.systemd import Box

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def installed(deb) -> Iterator[Box]:
    with Box() as box:
        install(box, deb)
        configure(box)
        yield box


@pytest.fixture
def box(installed) -> Box:
    """With the service running as it is shipped, whatever the test before did to it."""
    installed("rm", "-rf", f"/etc/systemd/system/{UNIT}.d")
    installed.write(GATEWAY, TEXT)
    installed("systemctl", "daemon-reload")
    installed("systemctl", "start", "mosquitto")
    installed("systemctl", "restart", UNIT)
    return installed


def test_it_is_ready_and_says_how_it_is(box):
    """`systemctl restart` came back, so READY=1 was said: Type=notify."""
    assert box.show(UNIT, "ActiveState") == "active"
    wait_until(lambda: "1 of 1 machines online" in box.show(UNIT, "StatusText"), 20, "the machine in the status")
    wait_for_more(box)


def test_a_secret_is_handed_over_that_its_user_cannot_read(box):
    """The broker takes nobody without the password, and the file belongs to root."""
    wait_for_more(box)
    assert (box.root / "etc/gateway/secrets").stat().st_mode & 0o777 == 0o700
    status = box("cat", f"/proc/{box.show(UNIT, 'MainPID')}/status").stdout
    user = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1]
    assert 61184 <= int(user) <= 65519  # the range of DynamicUser=, systemd.exec(5)


def test_a_secret_that_is_wrong_is_noticed(box):
    """Negative control: with another password nothing arrives."""
    box.write("/etc/gateway/secrets/mqtt_password", "other\n", 0o600)
    try:
        box("systemctl", "restart", UNIT)
        wait_until(lambda: "broker:" in box.show(UNIT, "StatusText"), 20, "the status to name the broker")
        wait_until(lambda: "password" in box.journal(UNIT).lower(), 20, "the journal to say why")
    finally:
        box.write("/etc/gateway/secrets/mqtt_password", "pw\n", 0o600)


def test_a_process_that_hangs_is_started_anew(box):
    """3 s instead of 30; SIGSTOP is a process that does nothing more."""
    drop_in(box, "WatchdogSec=3\nTimeoutStopSec=3")
    box("systemctl", "restart", UNIT)
    before = box.show(UNIT, "MainPID")
    box("systemctl", "kill", "-s", "STOP", UNIT)
    wait_until(
        lambda: box.show(UNIT, "MainPID") not in ("0", before) and box.show(UNIT, "ActiveState") == "active",
        40,
        "another process",
    )
    assert "Watchdog timeout" in box.journal(UNIT)
    wait_for_more(box)


def test_one_that_lives_is_left_alone(box):
    """Negative control: more than twice the time that is allowed, and nobody was ended."""
    drop_in(box, "WatchdogSec=3")
    box("systemctl", "restart", UNIT)
    before = box.show(UNIT, "MainPID")
    wait_for_more(box, count=70)  # at ten a second
    assert box.show(UNIT, "MainPID") == before


def test_what_was_accepted_outlives_a_kill(box):
    """The broker is away, the process is killed; afterwards all that was on the disk is stored, without a gap."""
    wait_for_more(box)
    box("systemctl", "stop", "mosquitto")
    waiting = lambda: sum(row["count"] for row in audit(box) if row["kind"] == "pending")  # noqa: E731
    wait_until(lambda: waiting() > 30, 30, "messages that wait")
    before = max(row["last"] for row in audit(box))
    restarts = int(box.show(UNIT, "NRestarts"))
    box("systemctl", "kill", "-s", "KILL", UNIT)
    wait_until(lambda: int(box.show(UNIT, "NRestarts")) > restarts, 20, "a restart")
    box("systemctl", "start", "mosquitto")
    stored = lambda: [row for row in audit(box) if row["kind"] == "stored"]  # noqa: E731
    wait_until(lambda: max(row["last"] for row in stored()) > before + 10, 40, "all of it stored")
    assert not [row for row in audit(box) if row["kind"] == "loss"]
    for epoch in {row["epoch"] for row in stored()}:
        ranges = sorted((row["first"], row["last"]) for row in stored() if row["epoch"] == epoch)
        assert all(after[0] <= before[1] + 1 for before, after in itertools.pairwise(ranges)), ranges


# Where it may write and where not, tried by a shell in the place of the gateway.
PLACES = (
    "/usr",
    "/usr/bin",
    "/etc",
    "/etc/gateway",
    "/opt/shopfloor-gateway",
    "/home",
    "/root",
    "/var",
    "/var/lib",
    "/boot",
    "/srv",
)


def test_it_writes_to_its_own_folder_and_nowhere_else(box):
    tries = "; ".join(f"touch {place}/tried 2>/dev/null && echo {place}" for place in PLACES)
    script = (
        f"({tries}; touch $STATE_DIRECTORY/tried && echo state; touch /tmp/tried && echo tmp) >$STATE_DIRECTORY/places"
    )
    drop_in(box, f"ExecStartPost=/bin/sh -c '{script}'")
    box("systemctl", "restart", UNIT)
    assert box("cat", "/var/lib/gateway/places").stdout.split() == ["state", "tmp"]
    assert box("ls", "/tmp").stdout.split().count("tried") == 0  # its own /tmp


def device(box: Box) -> bool:
    """Whether the sandbox lets it open a device that belongs to the group of the serial ports."""
    script = "if (exec 3<>/dev/ttyS9) 2>/dev/null; then echo yes; else echo no; fi >$STATE_DIRECTORY/device"
    drop_in(box, f"ExecStartPost=/bin/sh -c '{script}'")
    box("systemctl", "restart", UNIT)
    return box("cat", "/var/lib/gateway/device").stdout.strip() == "yes"


def test_serial_ports_are_there_with_the_drop_in_and_only_then(box):
    box("sh", "-c", "rm -f /dev/ttyS9; mknod /dev/ttyS9 c 1 5; chgrp dialout /dev/ttyS9; chmod 660 /dev/ttyS9")
    assert not device(box)
    box("cp", "/usr/share/shopfloor-gateway/serial.conf", f"/etc/systemd/system/{UNIT}.d/")
    assert device(box)


def test_a_reload_takes_the_new_configuration_without_a_restart(box):
    wait_for_more(box)
    before = box.show(UNIT, "MainPID")
    box.write(
        GATEWAY,
        TEXT.replace(
            "{a: {holding: 0, type: uint16}}", "{a: {holding: 0, type: uint16}, b: {holding: 1, type: uint16}}"
        ),
    )
    box("systemctl", "reload", UNIT)
    wait_for_more(box, "press/b")
    assert box.show(UNIT, "MainPID") == before


def test_a_reload_that_is_refused_fails_and_the_old_configuration_goes_on(box):
    wait_for_more(box)
    before = box.show(UNIT, "MainPID")
    box.write(GATEWAY, TEXT.replace("uint16", "uint17"))
    assert box("systemctl", "reload", UNIT, check=False).returncode != 0
    assert "uint17" in box.journal(UNIT)
    box.write(GATEWAY, TEXT)
    wait_for_more(box)
    assert box.show(UNIT, "MainPID") == before


def test_it_starts_with_the_last_good_configuration_when_the_files_are_wrong(box):
    wait_for_more(box)
    box.write(GATEWAY, TEXT.replace("uint16", "uint17"))
    box("systemctl", "restart", UNIT)
    assert box.show(UNIT, "ActiveState") == "active"
    assert "uint17" in box.journal(UNIT)
    box.write("/etc/gateway/right.yaml", TEXT)  # to ask with: the historian is where it was
    wait_for_more(box, config="/etc/gateway/right.yaml")


def test_what_root_looks_at_meanwhile_is_still_the_services(box):
    """Files that commands of root make beside it must not shut it out: SQLite's, locks."""
    wait_for_more(box)
    box("systemctl", "stop", UNIT)
    assert rows(box)
    audit(box)
    box("gateway", "buffer", "verify", "-c", GATEWAY)
    box("systemctl", "start", UNIT)
    wait_for_more(box)
    owners = {
        json.dumps(line.split()[:1]) for line in box("find", "/var/lib/gateway/", "-printf", "%U\\n").stdout.split()
    }
    assert len(owners) == 1


def test_several_on_one_box_share_nothing(box):
    line2 = TEXT.replace("edge-01, data_dir: /var/lib/gateway", "line2, data_dir: /var/lib/gateway@line2").replace(
        "press", "saw"
    )
    box.write("/etc/gateway/line2/gateway.yaml", line2)
    box.write("/etc/gateway/line2/secrets/mqtt_password", "pw\n", 0o600)
    box("systemctl", "start", "shopfloor-gateway@line2")
    try:
        wait_for_more(box)
        wait_for_more(box, "saw/a", config="/etc/gateway/line2/gateway.yaml")
        users = {box("stat", "-c", "%u", f"/var/lib/private/{name}").stdout for name in ("gateway", "gateway@line2")}
        assert len(users) == 2
    finally:
        box("systemctl", "stop", "shopfloor-gateway@line2")


def test_a_store_writer_of_its_own(box):
    """The gateway without a store, the writer in a service beside it: what the one reads, the other has."""
    (broker,) = [line for line in TEXT.splitlines() if line.startswith("mqtt:")]
    store = f"gateway: {{data_dir: /var/lib/gateway-store}}\nsite: {{enterprise: acme}}\nstore: {{kind: historian}}\n{broker}\n"
    box.write("/etc/gateway-store/gateway.yaml", store)
    box.write("/etc/gateway-store/secrets/mqtt_password", "pw\n", 0o600)
    box.write(
        GATEWAY,
        TEXT.replace("store: {kind: historian}\n", "").replace("mqtt_password}", "mqtt_password}, delivery: store"),
    )
    box("systemctl", "restart", UNIT)
    box("systemctl", "start", "shopfloor-store")
    try:
        wait_for_more(box, config="/etc/gateway-store/gateway.yaml")
        wait_until(
            lambda: re.search(r"\b[0-5] messages waiting", box.show(UNIT, "StatusText")), 20, "its acknowledgements"
        )
    finally:
        box("systemctl", "stop", "shopfloor-store")
