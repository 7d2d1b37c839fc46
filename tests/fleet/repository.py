"""A signed repository for a fleet, made with the real git and ssh-keygen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

PLANT = """\
version: 1
gateway: {{id: {gateway}, data_dir: {data}}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}", delivery: broker}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: 1502}}}}
"""
MACHINE = "connection: panel\nsignals: {temp: {holding: 0, type: int16, scale: 0.1, unit: Cel}}\n"


class Repository:
    """`commit` is dated by hand, so that its age is no matter of how fast the test runs."""

    def __init__(self, folder: Path, data: Path, gateway: str = "edge-01", broker: int = 1) -> None:
        self.folder, self.work, self.gateway = folder, folder / "work", gateway
        self.work.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.keys = {name: self._key(name) for name in ("anna", "mallory")}
        self.allowed = folder / "allowed_signers"
        self.allow("anna")
        self.write(f"gateways/{gateway}/gateway.yaml", PLANT.format(gateway=gateway, data=data, broker=broker))
        self.write("common/machines/press.yaml", MACHINE)
        self.write("README.md", "of the fleet\n")
        self.now = 1_790_000_000  # 2026-09-21

    @property
    def url(self) -> str:
        return f"file://{self.work}"

    def allow(self, *names: str) -> None:
        lines = [f'{name}@acme namespaces="git" {self.public(name)}' for name in names]
        self.allowed.write_text("\n".join(lines) + "\n")
        self.allowed.chmod(0o644)

    def public(self, name: str) -> str:
        return " ".join(self.keys[name].with_suffix(".pub").read_text().split()[:2])

    def write(self, path: str, text: str | bytes) -> None:
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def commit(self, signer: str | None = "anna", *, at: int | None = None) -> str:
        """Everything as it is now; a minute later than the last one. Returns its id."""
        self.now = self.now + 60 if at is None else at
        self.git("add", "--all", "--force")
        sign = ["-S"] if signer else ["--no-gpg-sign"]
        self.git("commit", "--quiet", "--allow-empty", "-m", "a change", *sign, signer=signer)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str, signer: str | None = None, input: bytes | None = None, env: Mapping[str, str] | None = None) -> str:  # fmt: skip
        key = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.keys[signer]}"] if signer else []
        when = f"{getattr(self, 'now', 0)} +0000"
        done = subprocess.run(
            ["git", *key, "-c", "user.name=A", "-c", "user.email=a@acme", "-c", "core.protectNTFS=false",
             "-c", "core.protectHFS=false", *arguments],
            cwd=self.work, input=input, capture_output=True, check=False,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, **(env or {})},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def settings(self, folder: Path, more: str = "") -> Path:
        """fleet.yaml for a box."""
        file = self.folder / "fleet.yaml"
        file.write_text(
            f'url: "{self.url}"\nallowed_signers: {self.allowed}\ngateway: {self.gateway}\nfolder: {folder}\n{more}'
        )
        return file

    def _key(self, name: str) -> Path:
        key = self.folder / name
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True, capture_output=True
        )
        return key


def raw_tree(repository: Repository, entries: list[tuple[bytes, bytes, str]]) -> str:
    """A tree that git would not make: mode, name and object of each entry."""
    content = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(each) for mode, name, each in entries)
    return repository.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", input=content).strip()


def commit_tree(repository: Repository, tree: str) -> None:
    """A signed commit of a tree that was made by hand."""
    repository.now += 60
    made = repository.git("commit-tree", "-S", "-m", "by hand", tree, signer="anna")
    repository.git("update-ref", "refs/heads/main", made.strip())
