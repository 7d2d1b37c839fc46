"""The only place that runs git: to fetch one commit, verify it and take files out of it. Nothing is ever checked out.

Each fetch goes into an empty repository of its own, so there is no state that a power cut could leave half done, and
nothing of a repository (hooks, attributes, filters, submodules, large-file pointers) is ever acted on.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import PartMissingError
from gateway.fleet.errors import FleetError, Step
from gateway.fleet.settings import FleetSettings, transport_of

WANTED = "refs/fleet/wanted"
LOCAL = 30.0  # seconds for what needs no network
MEMORY = (
    512 * 2**20
)  # bytes for git and each of its children: a pack of 1 KB may unfold to any size before its signature is seen
_ASKED = ("GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSH_AUTH_SOCK")  # fmt: skip
_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.bigFileThreshold": "1m",  # what is larger is never held in memory as a whole
    "safe.directory": "*",  # of the temporary folder, and of a file:// repository that belongs to another user
    "transfer.fsckObjects": "true",
    "fetch.unpackLimit": "1",  # one pack, so that one bound holds for all of it
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "20",
    "protocol.allow": "never",
    "gpg.format": "ssh",
    "gpg.minTrustLevel": "fully",
    # A signature of another kind would be judged by keys that nobody named here.
    "gpg.program": "/bin/false",
    "gpg.x509.program": "/bin/false",
}


@dataclass(frozen=True, slots=True)
class Signed:
    """What was proven: the object (commit or tag), the time within what is signed, and whose key it was."""

    id: str
    time: int  # seconds since 1970
    signer: str
    key: str  # fingerprint


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree: mode as git writes it, object, size in bytes (-1 where it has none) and path."""

    mode: str
    id: str
    size: int
    path: bytes


class Git:
    """A new, bare repository in an empty folder, which whoever made the folder removes."""

    def __init__(self, folder: Path, settings: FleetSettings) -> None:
        """Raises PartMissingError where git or ssh-keygen is not installed."""
        self._git = _installed("git", "git")
        _installed("ssh-keygen", "openssh-client")  # which git asks about signatures
        self._folder, self._settings = folder, settings
        self._home = folder / "home"  # no settings, keys or credentials of whoever runs this
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._repository = folder / "repository.git"

    def newest(self) -> str:
        """What the branch or tag is now, as the server says: nothing is proven by it. Raises FleetError."""
        settings = self._settings
        said = self._run(
            "fetch", "ls-remote", "--exit-code", "--", settings.url, settings.ref, timeout=settings.timeout
        )
        for line in said.decode("ascii", "replace").splitlines():
            found, _, name = line.partition("\t")
            if name == settings.ref and _is_id(found):
                return found
        raise FleetError("fetch", f"{settings.url} has no {settings.ref}: check `branch` or `tag`")

    def fetch(self) -> str:
        """Fetch what the branch or tag is now, without its past; returns its id. Raises FleetError."""
        settings = self._settings
        self._run("fetch", "init", "--bare", "--quiet", "--template=", str(self._repository), bare=False)
        self._run(
            "fetch", "fetch", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-auto-gc", "--no-write-commit-graph",
            "--quiet", "--", settings.url, f"+{settings.ref}:{WANTED}", timeout=settings.timeout, bounded=True,
        )  # fmt: skip
        found = self._run("fetch", "rev-parse", "--verify", "--end-of-options", WANTED).decode().strip()
        if not _is_id(found):
            raise FleetError("fetch", f"git names what it fetched {found[:60]!r}")
        return found

    def verify(self, name: str) -> Signed:
        """That one of the allowed signers signed this commit or tag. Raises FleetError."""
        kind = self._run("signature", "cat-file", "-t", name).decode().strip()
        wanted = "tag" if self._settings.tag else "commit"
        if kind != wanted:
            hint = "; make it with git tag -s" if wanted == "tag" else ""
            raise FleetError("signature", f"{self._settings.ref} is a {kind}, not a signed {wanted}{hint}")
        if wanted == "tag":
            self._has_its_name(name)
        try:
            said = self._run("signature", f"verify-{wanted}", "--raw", name, errors_too=True).decode("utf-8", "replace")
        except FleetError as exc:
            raise FleetError("signature", f"{wanted} {name[:12]}: {_why_not(str(exc))}") from exc
        good = next((line for line in said.splitlines() if line.startswith('Good "git" signature for ')), "")
        signer, found, key = good.removeprefix('Good "git" signature for ').rpartition(" with ")
        if not found:
            raise FleetError("signature", f"{wanted} {name[:12]} is not signed by one of the allowed signers")
        return Signed(name, self._time(name, wanted), signer, key.rpartition(" ")[2])

    def tree(self, name: str) -> list[Entry]:
        """All entries below a commit or tag, folders left out. Raises FleetError."""
        said = self._run("files", "ls-tree", "-r", "-l", "-z", "--full-tree", f"{name}^{{tree}}")
        entries = []
        for row in said.split(b"\0")[:-1]:
            about, _, path = row.partition(b"\t")
            mode, _, object_id, size = about.decode("ascii").split()
            entries.append(Entry(mode, object_id, int(size) if size.isdigit() else -1, path))
        return entries

    def content(self, entry: Entry) -> bytes:
        """Of one file. Raises FleetError."""
        return self._run("files", "cat-file", "blob", entry.id)

    # --- small things ------------------------------------------------------------------------------------------------

    def _has_its_name(self, name: str) -> None:
        """An old tag under the name of this one would be a way around its signature."""
        for line in self._run("signature", "cat-file", "tag", name).splitlines():
            if line.startswith(b"tag "):
                if line[4:].decode("utf-8", "replace") != self._settings.tag:
                    raise FleetError("signature", f"{self._settings.ref} is the tag {line[4:60]!r} under another name")
                return
        raise FleetError("signature", f"{self._settings.ref} is a tag without a name")

    def _time(self, name: str, kind: str) -> int:
        field = b"tagger " if kind == "tag" else b"committer "
        for line in self._run("signature", "cat-file", kind, name).splitlines():
            if line.startswith(field):
                time = line.split()[-2]
                if time.isdigit() and len(time) <= 11:
                    return int(time)
            if not line:
                break
        raise FleetError("signature", f"{kind} {name[:12]} does not tell when it was made")

    def _run(
        self, step: Step, *arguments: str, timeout: float = LOCAL, bounded: bool = False, bare: bool = True, errors_too: bool = False,
    ) -> bytes:  # fmt: skip
        """Standard output of one call. Raises FleetError with what git said."""
        settings = self._settings
        config = dict(_CONFIG)
        config[f"protocol.{transport_of(settings.url)}.allow"] = "always"
        config["gpg.ssh.allowedSignersFile"] = str(settings.allowed_signers)
        if settings.revoked:
            config["gpg.ssh.revocationFile"] = str(settings.revoked)
        options = [part for key, value in config.items() for part in ("-c", f"{key}={value}")]
        where = ["--git-dir", str(self._repository)] if bare and self._repository.exists() else []
        limit = settings.max_size

        def bound() -> None:
            if bounded:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

        with subprocess.Popen(  # noqa: S603  (every argument is ours or was checked)
            [self._git, *options, *where, *arguments],
            env=self._environment(), cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, preexec_fn=bound,
        ) as process:  # fmt: skip
            try:
                out, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as exc:
                raise FleetError(step, f"git {arguments[0]}: no end within {timeout:g} s, it was stopped") from exc
            finally:  # ssh and remote helpers with it, also when a person stops us
                if process.returncode is None or process.returncode < 0:
                    _end(process.pid)
        if process.returncode:
            said = _last_lines(errors)
            if _NO_MEMORY.search(said):
                said = f"what it has takes more than {MEMORY // 2**20} MiB of memory to unpack: {said}"
            if bounded and any(file.stat().st_size >= limit for file in self._repository.rglob("*pack*")):
                said = f"what it has is more than max_size ({limit:,} bytes)"
            raise FleetError(step, f"git {arguments[0]}: {said or f'ended with {process.returncode}'}")
        return out + errors if errors_too else out

    def _environment(self) -> Mapping[str, str]:
        settings = self._settings
        ssh = ["ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=15", "-oForwardAgent=no"]
        if settings.identity:
            ssh += ["-i", str(settings.identity), "-oIdentitiesOnly=yes"]
        if settings.known_hosts:
            ssh += [f"-oUserKnownHostsFile={settings.known_hosts}"]
        return {
            **{name: os.environ[name] for name in _ASKED if name in os.environ},
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self._home),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_CEILING_DIRECTORIES": str(self._folder.parent),
            "GIT_SSH_COMMAND": shlex.join(ssh),
        }


def _end(leader: int) -> None:
    """A program and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _installed(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise PartMissingError(f"{program} is not installed: apt-get install {package}")
    return found


def _is_id(text: str) -> bool:
    return len(text) in (40, 64) and set(text) <= set("0123456789abcdef")


def _last_lines(said: bytes) -> str:
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return "; ".join("".join(c if c.isprintable() else " " for c in line)[:300] for line in lines[-4:])


_NO_MEMORY = re.compile(r"out of memory|cannot allocate memory|memory exhausted", re.I)
_REASONS: tuple[tuple[str, str], ...] = (
    ("REVOKED", "it is signed by a key that was revoked"),
    ("revoked", "it is signed by a key that was revoked"),
    ("No principal matched", "it is signed by a key that is not in allowed_signers"),
    ("Could not verify signature", "its signature is not that of its content: it was changed after it was signed"),
    ("incorrect signature", "its signature is not that of its content: it was changed after it was signed"),
    ("/bin/false", "it has a signature of another kind; only those of ssh count: git config gpg.format ssh"),
)


def _why_not(said: str) -> str:
    for sign, reason in _REASONS:
        if sign in said:
            return reason
    return "it is not signed by one of the allowed signers" + ("" if said.endswith("ended with 1") else f" ({said})")
