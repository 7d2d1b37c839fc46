"""A server that is lost and found: what it remembers arrives in the store at its own time, the rest as a loss record."""

from datetime import UTC, datetime, timedelta

from gateway.store.historian import Historian
from parts.gateway import Gateway
from parts.mosquitto import Mosquitto
from parts.node_opcua import NodeOpcua
from parts.process import wait_until


def config(server: NodeOpcua, broker: int) -> str:
    return f"""\
version: 1
gateway: {{id: edge-01, data_dir: data}}
connections:
  cnc: {{protocol: opcua, url: "{server.url}", security: None, publishing: 100ms}}
machines:
  lathe:
    connection: cnc
    namespaces: {{m: "urn:shop:cnc"}}
    signals:
      speed: {{node: "m:s=CNC1.SpindleSpeed", scale: 0.5}}
      count: {{node: "m:s=CNC1.PartCount"}}
      alarm: {{node: "m:s=CNC1", events: true}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}"}}
store: {{kind: historian}}
"""


def test_what_the_server_remembers_is_stored_and_the_rest_declared() -> None:
    with Mosquitto() as broker, NodeOpcua(tick_ms=0) as server, Gateway(config(server, broker.port)) as gateway:
        wait_until(lambda: gateway.machine("lathe")["state"] == "online", what="the first values")
        server.kill_sessions()
        now = datetime.now(UTC)
        now -= timedelta(microseconds=now.microsecond % 1000)  # a server of this kind keeps milliseconds
        for n in range(1, 31):  # nobody listens: too quick for a reconnect
            server.set("s=CNC1.SpindleSpeed", n, time=now + timedelta(milliseconds=n))
        server.set("s=CNC1.PartCount", 7)
        wait_until(lambda: gateway.machine("lathe")["signals"]["speed"]["value"] == 15.0, what="the values after it")
        server.raise_event(500, "the door was opened")
        wait_until(lambda: "alarm_message" in str(gateway.query("lathe/alarm_message")), what="the event")
        gateway.catch_up()
        wait_until(lambda: len(gateway.query("lathe/speed")) >= 31, what="the history")
        stored = [row for row in gateway.query("lathe/speed") if row["quality"] == "good"]
        first = now.timestamp() * 1000
        history = {round(row["t"] - first): row["value"] for row in stored if row["t"] > first}
        assert {n: history.get(n) for n in range(1, 31)} == {n: n / 2 for n in range(1, 31)}
        (event,) = [row for row in gateway.query("lathe/alarm_message") if row["quality"] == "good"]
        assert event["value"] == "the door was opened"
        reader = Historian.open_read_only(gateway.folder / "data" / "historian.sqlite")
        losses = [lost.loss for lost in reader.losses(0, 2**62) if lost.loss.machine == "lathe"]
    assert losses, "that count was not seen meanwhile is declared"
    assert {loss.cause.partition(":")[0] for loss in losses} == {"link-lost"}
    assert all((loss.first, loss.last) == (0, 0) for loss in losses)
