"""What a stranger hears who subscribes to everything: the documented topics, with the documented content."""

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path

from parts.gateway import Gateway
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.process import program, wait_until


@contextmanager
def everything(broker: Mosquitto, tmp_path: Path):
    """All messages of the broker as (topic, retained, content), from now on."""
    log = tmp_path / "heard"
    command = [
        program("mosquitto_sub"),
        "-p",
        str(broker.port),
        "-t",
        "#",
        "-q",
        "1",
        "-V",
        "mqttv5",
        "-F",
        "%t\t%r\t%q\t%p",
    ]
    with log.open("w") as out, subprocess.Popen(command, stdout=out) as process:

        def heard() -> list[tuple[str, bool, int, dict]]:
            lines = [line.split("\t") for line in log.read_text().splitlines() if line.count("\t") == 3]
            return [(t, r == "1", int(q), json.loads(p)) for t, r, q, p in lines]

        try:
            yield heard
        finally:
            process.terminate()


CONFIG = """\
gateway: {{id: edge-01, data_dir: data}}
site: {{enterprise: acme, site: hanoi}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}}}
machines:
  press-07:
    connection: panel
    line: L1
    poll: 100ms
    signals:
      melt_temp: {{holding: 0, type: int16, scale: 0.1, unit: Cel, range: [0, 400], description: Of the barrel}}
      mode: {{holding: 1, type: uint16, enum: {{0: "off", 3: auto}}}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}", root: plant/v9, delivery: broker}}
"""


def test_topics_and_messages(tmp_path):
    with Mosquitto() as broker, Libmodbus({(1, "holding", 0): [2135, 3]}) as press:
        text = CONFIG.format(port=press.port, broker=broker.port)
        with everything(broker, tmp_path) as heard:
            with Gateway(text) as gateway:
                wait_until(lambda: len([m for m in heard() if m[0].endswith("/data")]) > 5, 20, "data")
                press.set(1, "holding", 0, 4010)
                wait_until(
                    lambda: any("quality" in f for m in heard() if m[0].endswith("/data") for f in m[3]["frames"]),
                    10,
                    "the range",
                )
                gateway.stop()
                wait_until(lambda: heard()[-1][0] == "plant/v9/_gateway/edge-01/status", 10, "the good-bye")
            messages = heard()
        machine = "plant/v9/acme/hanoi/L1/press-07"
        assert {t for t, *_ in messages} == {
            f"{machine}/data",
            f"{machine}/meta",
            f"{machine}/status",
            "plant/v9/_gateway/edge-01/status",
        }
        assert {q for _, _, q, _ in messages} == {1}

        data = [m for t, _, _, m in messages if t == f"{machine}/data"]
        assert [m["seq"] for m in data] == list(range(1, len(data) + 1))
        assert {(m["v"], m["gateway"]) for m in data} == {(1, "edge-01")}
        assert len({m["epoch"] for m in data}) == 1
        assert data[0]["frames"][0]["values"] == {"melt_temp": 213.5, "mode": "auto"}
        last = data[-1]["frames"][0]
        assert (last["values"]["melt_temp"], last["quality"]) == (401.0, {"melt_temp": "uncertain:out-of-range"})

        (meta,) = [m for t, _, _, m in messages if t == f"{machine}/meta"]
        assert meta["signals"]["melt_temp"] == {
            "type": "float",
            "kind": "gauge",
            "unit": "Cel",
            "description": "Of the barrel",
            "range": [0.0, 400.0],
            "poll": 0.1,
        }
        assert meta["signals"]["mode"]["states"] == {"0": "off", "3": "auto"}

        states = [(m["state"], m["reason"]) for t, _, _, m in messages if t == f"{machine}/status"]
        assert states[-2:] == [("online", ""), ("offline", "the gateway was stopped")]
        assert [m["state"] for t, _, _, m in messages if t.endswith("edge-01/status")] == ["online", "offline"]

        # Who comes later still gets meta and status, and no old data.
        with everything(broker, tmp_path) as later:
            wait_until(lambda: len(later()) == 3, 10, "the retained messages")
            assert {(t, r) for t, r, *_ in later()} == {
                (f"{machine}/meta", True),
                (f"{machine}/status", True),
                ("plant/v9/_gateway/edge-01/status", True),
            }


def test_a_gateway_that_dies_is_announced_by_its_will(tmp_path):
    with Mosquitto() as broker, Libmodbus({(1, "holding", 0): [1, 3]}) as press:
        with Gateway(CONFIG.format(port=press.port, broker=broker.port)) as gateway:
            wait_until(lambda: gateway.status()["broker"]["state"] != "offline", 20, "the broker")
            gateway.kill()
        with everything(broker, tmp_path) as heard:
            wait_until(lambda: any(t.endswith("edge-01/status") for t, *_ in heard()), 10, "the will")
            (will,) = [m for t, _, _, m in heard() if t.endswith("edge-01/status")]
            assert (will["state"], will["reason"]) == ("offline", "the gateway is gone without a word")
