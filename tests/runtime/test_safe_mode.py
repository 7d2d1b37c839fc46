"""The page of a gateway whose files are broken: never with less of a login than they may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.runtime.changes.safe_mode import web_of

FILE = "version: 1\ngateway: {id: edge-01, data_dir: data}\n"
WEB = "web: {listen: '0.0.0.0:8443', login: required"


def settings_of(folder: Path, text: str | bytes, machine: str = "") -> tuple[str, str]:
    (folder / "gateway.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    if machine:
        (folder / "machines").mkdir()
        (folder / "machines" / "a.yaml").write_text(machine)
    web = web_of(folder)
    assert web_of(folder / "gateway.yaml") == web or machine
    return web.listen, web.login


@pytest.mark.parametrize(
    "text",
    [
        f"{FILE}{WEB}, hots: [a]}}\n",  # a mistyped key
        f"{FILE}{WEB}, session: 1x}}\n",
        f"{FILE}web: yes please\n",
        f"{FILE}{WEB}, metrics_token: {{secret: nowhere}}}}\n",
        f"{FILE}{WEB}\n",  # never closed
        f"{FILE}{WEB}}}\na: b: c\n",
        f"{FILE}{WEB}, hosts: ['${{NOBODY_HAS_SET_THIS}}']}}\n",
        b"\xff\xfe\0",
        "web:\n",
    ],
)
def test_what_cannot_be_read_asks_for_a_login(
    tmp_path: Path, text: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings_of(tmp_path, text) == ("127.0.0.1:8080", "required")
    assert (
        "gateway.yaml says of the page (web:) cannot be read: it is at 127.0.0.1:8080 only, with a login" in caplog.text
    )


def test_the_file_may_be_one_of_the_machines(tmp_path: Path) -> None:
    assert settings_of(tmp_path, FILE, f"{WEB}\n") == ("127.0.0.1:8080", "required")


def test_no_file_at_all(tmp_path: Path) -> None:
    assert web_of(tmp_path).login == "required"


def test_mistakes_elsewhere_change_nothing(tmp_path: Path) -> None:
    assert settings_of(tmp_path, f"{FILE}nonsense: 1\n{WEB}}}\n") == ("0.0.0.0:8443", "required")
    assert settings_of(tmp_path, f"{FILE}nonsense: 1\n") == ("127.0.0.1:8080", "loopback-free")
