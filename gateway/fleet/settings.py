"""Where a fleet's configuration comes from, and who may sign it: /etc/gateway/fleet.yaml.

These are no keys of a plant's configuration: what decides about trust must not come from what is to be trusted.
"""

from __future__ import annotations

import re
import socket
import stat
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from gateway.config.explain import explain
from gateway.config.fields import Duration, Name, Section, Size, mistake
from gateway.config.yaml_file import Mark, Source, display_name, read_yaml
from gateway.errors import ConfigErrors

_SCP_LIKE = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9][A-Za-z0-9.-]*:[^:].*")  # git@git.acme.lan:fleet.git
_SCHEMES = {"https": "https", "ssh": "ssh", "file": "file"}  # as `protocol` of git; http and git:// prove nothing
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


def transport_of(url: str) -> str:
    """The one protocol of git that this address needs."""
    return _SCHEMES.get(urlsplit(url).scheme, "ssh")


def _url(value: str) -> str:
    if not value.isprintable() or " " in value:
        raise mistake("an address has no blanks", "for example https://git.acme.lan/fleet.git")
    if _SCP_LIKE.fullmatch(value):
        return value
    parts = urlsplit(value)
    if parts.scheme not in _SCHEMES or not (parts.hostname or parts.scheme == "file"):
        raise mistake(
            f"'{value}' is not an address we fetch from", "https://…, ssh://…, git@host:path, or file:///folder"
        )
    if (parts.hostname or "").startswith("-") or (parts.username or "").startswith("-"):
        raise mistake(f"'{value}' has a host that looks like an option", "for example https://git.acme.lan/fleet.git")
    if parts.password:
        raise mistake("no password in an address", "use ssh, and `identity` for a key that may only read")
    return value


def _ref(value: str) -> str:
    if not _REF.fullmatch(value) or ".." in value or value.endswith((".lock", "/", ".")) or "//" in value:
        raise mistake(f"{value[:80]!r} cannot be a branch or a tag", "for example main")
    return value


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise mistake(f"'{value}' has to be an absolute path", "for example /var/lib/gateway-fleet")
    return value


class FleetSettings(Section):
    """All of fleet.yaml."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        description="The repository.", examples=["https://git.acme.lan/fleet.git", "git@git.acme.lan:fleet.git"]
    )
    branch: Annotated[str, AfterValidator(_ref)] | None = Field(
        None, description="Its newest commit counts, which has to be signed. `main` where neither is said."
    )
    tag: Annotated[str, AfterValidator(_ref)] | None = Field(
        None, description="Instead of a branch: an annotated, signed tag that is moved.", examples=["production"]
    )
    allowed_signers: Path = Field(
        description='Whose signature counts, as ssh-keygen has it: `name namespaces="git" ssh-ed25519 AAAA…` a line.',
        examples=["/etc/gateway/allowed_signers"],
    )
    revoked: Path | None = Field(None, description="Keys that count no more, one a line, or a KRL of ssh-keygen.")
    gateway: Name = Field(
        default_factory=lambda: socket.gethostname(),
        description="Which gateway this is: its files are gateways/NAME over common. The host name where it is left out.",
    )
    folder: Annotated[Path, AfterValidator(_absolute)] = Field(
        Path("/var/lib/gateway-fleet"),
        description="Where configurations are kept; the gateway is started with FOLDER/current.",
    )
    secrets: Path | None = Field(
        None,
        description="Folder of passwords on this box: stands beside each configuration as `secrets`, never in git.",
    )
    identity: Path | None = Field(None, description="Key to fetch with, over ssh; else that of the user.")
    known_hosts: Path | None = Field(None, description="Hosts that ssh knows; an unknown one is refused.")
    timeout: Duration = Field(60.0, ge=1, le=3600, description="How long a fetch may take.", examples=["60s"])
    max_size: Size = Field(
        20 * 2**20, ge=2**16, description="What is fetched at most, and what may be in it.", examples=["20MiB"]
    )
    keep: int = Field(5, ge=2, le=1000, description="Configurations that are kept.")
    max_ahead: Duration = Field(
        86400.0, description="A signature from further in the future is refused: it would block all that follow."
    )

    @model_validator(mode="after")
    def _fits(self) -> FleetSettings:
        if self.branch is not None and self.tag is not None:
            raise mistake("a branch and a tag", "one of them", "tag")
        return self

    @property
    def ref(self) -> str:
        return f"refs/tags/{self.tag}" if self.tag else f"refs/heads/{self.branch or 'main'}"


def read_settings(file: Path) -> FleetSettings:
    """Read and check them. Relative paths are from the file's folder. Raises ConfigErrors, each at its line."""
    if not file.exists():
        hint = "copy fleet.yaml of /usr/share/shopfloor-gateway/fleet there and change it, or name another one: --settings FILE"
        raise ConfigErrors([Mark(Source(display_name(file))).error("there is no such file", hint)])
    node = read_yaml(file)
    if not node.is_mapping:
        raise ConfigErrors([node.mark.error("this is a mapping (key: value)", "for example: url: https://…")])
    try:
        settings = FleetSettings.model_validate(node.plain())
    except ValidationError as exc:
        raise ConfigErrors(explain(exc, FleetSettings, node, ())) from exc
    paths = {
        key: file.absolute().parent / path
        for key in ("allowed_signers", "revoked", "secrets", "identity", "known_hosts")
        if (path := getattr(settings, key)) is not None
    }
    errors = [
        node.find([key], key=key not in node.keys).error(*told, key)
        for key, path in paths.items()
        if (told := _trouble(key, path))
    ]
    if errors:
        raise ConfigErrors(errors)
    return settings.model_copy(update=paths)


def _trouble(key: str, path: Path) -> tuple[str, str] | None:
    """Why a file cannot be used; nobody else may write what decides about trust."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return f"{path}: there is no such {'folder' if key == 'secrets' else 'file'}", _MISSING.get(
            key, "make it, or correct the path"
        )
    except OSError as exc:
        return f"{path}: {exc.strerror}", "fleet commands run as the user of the gateway, or as root"
    if key == "secrets":
        return None if path.is_dir() else (f"{path} is no folder", "a folder with one file a secret")
    if not path.is_file():
        return f"{path} is no file", "name a file"
    if key in ("allowed_signers", "revoked", "known_hosts") and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write {path}", f"chmod go-w {path}"
    return _no_signers(path) if key == "allowed_signers" else None


def _no_signers(path: Path) -> tuple[str, str] | None:
    """What is no line of an allowed_signers file; see ssh-keygen(1), ALLOWED SIGNERS."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as exc:
        return f"{path}: {exc.strerror}", "fleet commands run as the user of the gateway, or as root"
    signers = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not signers:
        return f"{path} is empty, so nobody may sign", f"one line for each key: {_SIGNER}"
    for number, line in signers:
        if not _SIGNER_LINE.fullmatch(line.strip()):
            return f"{path}: line {number} names no signer and key", f"one line for each key: {_SIGNER}"
    return None


_SIGNER = 'anna@acme namespaces="git" ssh-ed25519 AAAA…'
_SIGNER_LINE = re.compile(
    r"""\S+[ \t]+(?:[a-z-]+(?:="[^"]*")?(?:,[a-z-]+(?:="[^"]*")?)*[ \t]+)?(?:sk-)?(?:ssh|ecdsa)-[A-Za-z0-9@.-]+[ \t]+AAAA[A-Za-z0-9+/]+=*(?:[ \t].*)?"""
)
_MISSING = {
    "allowed_signers": f"make it, with one line for each key: {_SIGNER}",
    "secrets": "make it: install -d -m 700 …, with one file a secret",
    "known_hosts": "make it: ssh-keyscan HOST, and compare the key with what the server's people say",
}
