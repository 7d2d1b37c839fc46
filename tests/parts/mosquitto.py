"""Mosquitto, the MQTT broker."""

import os
import subprocess
from collections.abc import Iterable, Mapping

from .ports import free_port
from .process import Part, accepts, program
from .tls import Authority


class Mosquitto(Part):
    """A broker with a plain listener and, if asked, one with TLS; `conf` lines come last and belong to the last one."""

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        acl: str = "",
        tls: bool = False,
        persistence: bool = False,
        conf: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.users = users or {}
        self.acl = acl
        self.persistence = persistence
        self.conf = list(conf)
        self.port = free_port()
        self.tls_port = free_port() if tls else 0
        self.authority = Authority(self.folder / "tls")
        self.ca_path = self.authority.ca_path
        self.url = f"mqtt://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join(self._configuration()) + "\n")
        return [program("mosquitto"), "-c", str(path)]

    def ready(self) -> bool:
        return accepts(self.port)

    def _configuration(self) -> Iterable[str]:
        if os.geteuid() == 0:
            yield "user root"  # else it steps down to a user who may not read this folder
        yield f"allow_anonymous {'false' if self.users else 'true'}"
        if self.users:
            yield f"password_file {self._password_file()}"
        if self.acl:
            path = self.folder / "acl"
            path.write_text(self.acl)
            yield f"acl_file {path}"
        yield f"persistence {'true' if self.persistence else 'false'}"
        if self.persistence:
            data = self.folder / "data"
            data.mkdir(exist_ok=True)
            yield f"persistence_location {data}/"
        yield f"listener {self.port} 127.0.0.1"
        if self.tls_port:
            certificate, key = self.authority.issue("localhost")
            yield f"listener {self.tls_port} 127.0.0.1"
            yield f"cafile {self.ca_path}"
            yield f"certfile {certificate}"
            yield f"keyfile {key}"
        yield from self.conf

    def _password_file(self) -> str:
        path = self.folder / "passwords"
        path.touch(mode=0o600)
        path.write_text("".join(f"{user}:{password}\n" for user, password in self.users.items()))
        subprocess.run([program("mosquitto_passwd"), "-U", path], check=True)
        return str(path)
