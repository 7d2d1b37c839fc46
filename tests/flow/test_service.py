"""`gateway run` and `gateway store` under a service manager: ready, alive, how they are, and a clean end."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.plants import modbus_plant
from parts.gateway import Gateway, Simulated, StoreProcess
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until


class Manager:
    """The socket a service manager listens at."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        self.said: list[str] = []

    def heard(self, what: str) -> list[str]:
        """All lines so far that begin like this."""
        while True:
            try:
                self.said += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return [line for line in self.said if line.startswith(what)]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    made = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", made.address)
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield made
    made.close()


def test_the_gateway(manager):
    text = modbus_plant([free_port()], 5, "100ms")
    with Mosquitto() as broker, Simulated(text) as machines:
        manager.heard("")
        manager.said.clear()  # what the simulator may have said
        more = f'gateway: {{id: edge-01, data_dir: data}}\nmqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\n'
        with Gateway(text + more + "store: {kind: historian}\n") as gateway:
            wait_until(lambda: manager.heard("READY=1"), 20, "readiness")
            wait_until(lambda: manager.heard("STATUS=1 of 1 machines online"), 20, "the status")
            wait_until(lambda: len(manager.heard("WATCHDOG=1")) > 3, 20, "signs of life")
            # A dead machine and a broker that is away are no reason to be started anew.
            machines.kill()
            broker.kill()
            wait_until(lambda: manager.heard("STATUS=0 of 1 machines online"), 20, "the status")
            wait_until(lambda: "broker:" in manager.heard("STATUS=")[-1], 20, "the reason")
            before = len(manager.heard("WATCHDOG=1"))
            wait_until(lambda: len(manager.heard("WATCHDOG=1")) > before + 3, 20, "signs of life")
            os.kill(gateway.pid, signal.SIGTERM)
            assert gateway.process is not None
            assert gateway.process.wait(15) == 0
            assert manager.heard("STOPPING=1")
            assert gateway.log.rstrip().endswith("stopped")


def test_a_gateway_that_hangs_is_silent(manager):
    """The control: it is stopped in the middle of its work, and no sign of life comes any more."""
    text = modbus_plant([free_port()], 5, "100ms")
    with Mosquitto() as broker, Simulated(text):
        more = f'gateway: {{id: edge-01, data_dir: data}}\nmqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\n'
        with Gateway(text + more) as gateway:
            wait_until(lambda: len(manager.heard("WATCHDOG=1")) > 2, 20, "signs of life")
            os.kill(gateway.pid, signal.SIGSTOP)
            try:
                manager.heard("")
                manager.said.clear()
                with pytest.raises(TimeoutError):
                    wait_until(lambda: manager.heard("WATCHDOG=1"), 3, "a sign of life")
            finally:
                os.kill(gateway.pid, signal.SIGCONT)
            wait_until(lambda: manager.heard("WATCHDOG=1"), 20, "signs of life again")


def test_the_store_writer(manager):
    with Mosquitto() as broker:
        text = f'gateway: {{data_dir: data}}\nmqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\nstore: {{kind: historian}}\n'
        with StoreProcess(text) as writer:
            wait_until(lambda: manager.heard("READY=1"), 20, "readiness")
            wait_until(lambda: len(manager.heard("WATCHDOG=1")) > 1, 20, "signs of life")
            os.kill(writer.pid, signal.SIGTERM)
            assert writer.process is not None
            assert writer.process.wait(15) == 0
            assert manager.heard("STOPPING=1")
