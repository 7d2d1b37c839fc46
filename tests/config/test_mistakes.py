"""Each mistake a person can make is a file here, beside the exact words it is answered with."""

from pathlib import Path

import pytest

from gateway.config import load
from gateway.errors import ConfigErrors
from gateway.runtime.registry import protocols

MISTAKES = Path(__file__).with_name("mistakes")


@pytest.mark.parametrize("name", sorted(f.stem for f in MISTAKES.glob("*.yaml")))
def test_mistake(name, monkeypatch):
    monkeypatch.chdir(MISTAKES)
    with pytest.raises(ConfigErrors) as raised:
        load(Path(f"{name}.yaml"), protocols(), env={})
    assert str(raised.value) + "\n" == Path(f"{name}.txt").read_text(encoding="utf-8")
    assert raised.value.exit_code == 3


def test_there_are_many():
    assert len(list(MISTAKES.glob("*.txt"))) >= 40


def test_a_missing_file_and_a_secret_others_can_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigErrors, match=r"plant\.yaml: error: cannot be read: No such file or directory"):
        load(Path("plant.yaml"), protocols())
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pw").write_text("hunter2\n")
    (tmp_path / "secrets" / "pw").chmod(0o644)
    Path("plant.yaml").write_text("mqtt: {user: edge, password: {secret: pw}}\n")
    with pytest.raises(
        ConfigErrors, match=r"secrets/pw can be read by others \(mode 0644\)\n(.*\n)*.*chmod 600"
    ) as raised:
        load(Path("plant.yaml"), protocols())
    assert "hunter2" not in str(raised.value)
    (tmp_path / "secrets" / "pw").chmod(0o600)
    loaded = load(Path("plant.yaml"), protocols())
    assert loaded.settings.mqtt.password.value == "hunter2"
    assert "hunter2" not in repr(loaded)
