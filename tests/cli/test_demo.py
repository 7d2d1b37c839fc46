"""`gateway demo`: everything up, a value on the page, and everything gone after Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from parts.gateway import COMMAND, query
from parts.process import wait_until


def start(tmp_path: Path, *more: str) -> tuple[subprocess.Popen[str], Path]:
    log = tmp_path / "log"
    command = [COMMAND, "demo", "--port", "0", "--data", str(tmp_path / "data"), *more]
    with log.open("w") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True), log


def page_of(log: Path) -> str:
    wait_until(lambda: "status page" in log.read_text(), 30, "the status page")
    return re.search(r"http://\S+", log.read_text())[0]


@pytest.mark.parametrize("with_broker", [True, False], ids=["mosquitto", "in-process"])
def test_the_demo(tmp_path, with_broker):
    began = time.monotonic()
    process, log = start(tmp_path, *([] if with_broker else ["--in-process"]))
    try:
        page = page_of(log)
        assert time.monotonic() - began < 15
        with urlopen(f"{page}api/v1/status") as answer:
            machines = {m["name"]: m for m in json.load(answer)["machines"]}
        assert set(machines) == {"meter-01", "press-07", "lathe-02"}
        assert any(s["value"] is not None for m in machines.values() for s in m["signals"])

        def online() -> bool:
            with urlopen(f"{page}readyz") as answer:
                return answer.status == 200

        wait_until(online, 20, "everything to be connected")
        children = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert any("mosquitto" in c.name() for c in children) is with_broker
        assert ("linked inside this process" in log.read_text()) is not with_broker
        # Ctrl-C twice in a row, as people do, must not leave anything behind.
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 0, log.read_text()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not alive
    finally:
        process.kill()
    text = log.read_text()
    assert "Traceback" not in text
    assert " 0 lost" in text
    assert " 0 on their way" in text
    (tmp_path / "gateway.yaml").write_text("gateway: {data_dir: data}\nstore: {kind: historian}\n")
    rows = query(tmp_path / "gateway.yaml", "meter-01/energy_import")
    values = [row["value"] for row in rows]
    assert values
    assert values == sorted(values)
    states = {row["value"] for row in query(tmp_path / "gateway.yaml", "press-07/state")}
    assert states
    assert states <= {"waiting", "running"}  # the first alarm comes after minutes
    for figure in ("press-07/hour.energy", "lathe-02/shift.unknown_time"):
        assert query(tmp_path / "gateway.yaml", figure)
