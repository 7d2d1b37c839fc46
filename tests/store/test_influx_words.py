"""Why a data base cannot be reached is said in words, not with the objects of a library."""

from __future__ import annotations

import re
import socket

import pytest

from gateway.errors import StoreError
from gateway.store.influx import InfluxConnection
from parts.ports import free_port


def said(url: str, api: str | None) -> str:
    connection = InfluxConnection(url, api=api, bucket="b", org="o", timeout=0.3)  # type: ignore[arg-type]
    with pytest.raises(StoreError) as failed:
        connection.post(b"x v=1 1")
    connection.close()
    assert failed.value.fault == "store-unreachable"
    text = str(failed.value)
    assert text.endswith(": is it running, and store.url right?")
    assert not re.search(r"Counted|Pool|host=|Errno|object at", text), text
    return text.removeprefix(f"{url} cannot be reached: ").removesuffix(": is it running, and store.url right?")


@pytest.mark.parametrize("api", ["v1", "v2", None])
def test_in_words(api):
    assert said(f"http://127.0.0.1:{free_port()}", api) == "nothing listens there"
    assert said("http://nowhere.invalid:8086", api) == "its name is not known"  # RFC 6761, 6.4: never resolves
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert said(f"http://127.0.0.1:{silent.getsockname()[1]}", api) == "no answer in time"


def test_a_server_that_speaks_no_tls():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        import threading

        def answer() -> None:
            line, _ = server.accept()
            line.recv(100)
            line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            line.close()

        threading.Thread(target=answer, daemon=True).start()
        assert said(f"https://127.0.0.1:{server.getsockname()[1]}", "v2").startswith("TLS: ")
