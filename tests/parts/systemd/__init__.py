"""A box with a real systemd: a Debian 12 of its own in namespaces, on top of a tree that is never written to.

    .parts/debian/root (tree.sh, once) ─ overlay ─▶ root of a box ─ unshare: processes, mounts, network, cgroups ─▶ /sbin/init

    with Box() as box:
        box.write("/etc/gateway/gateway.yaml", text)
        box("systemctl", "start", "shopfloor-gateway")

Its network is a loopback of its own. Needs root on Linux with overlayfs and version 2 of the cgroups.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from parts.process import INSTALLED, program, wait_until

TREE = INSTALLED / "debian" / "root"
_INIT = Path(__file__).with_name("init.sh")


class Box:
    """`with` boots it and shuts it off; what was written to it is gone then."""

    def __init__(self, *, boot: bool = True) -> None:
        """Without `boot` it is a folder to run programs in, as a Debian that is just being installed."""
        self.folder = Path(tempfile.mkdtemp(prefix="box-"))
        self.root = self.folder / "root"
        self._boot = boot
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        try:
            _run(
                "mount", "-t", "tmpfs", "-o", "size=2g,mode=700", "tmpfs", str(self.folder)
            )  # nothing in it is to last
            for name in ("upper", "work", "root"):
                (self.folder / name).mkdir()
            options = f"lowerdir={TREE},upperdir={self.folder}/upper,workdir={self.folder}/work"
            _run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))
            if self._boot:
                self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is not None and self._init:
            with suppress(Exception):
                error.add_note(self.journal())
        self.close()

    def __call__(self, *command: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program in it, as root there. Raises RuntimeError with what it said if it fails and `check`."""
        if self._init:
            enter = [program("nsenter"), "-t", str(self._init), "-m", "-u", "-i", "-n", "-p", "-C"]
        else:
            enter = ["chroot", str(self.root)]
        inside = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]
        done = subprocess.run(
            [*enter, *inside, *command], capture_output=True, text=True, timeout=timeout, check=False,
            stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        if check and done.returncode:
            journal = self.journal() if command[0] == "systemctl" else ""
            raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}{journal}")
        return done

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file in it, and the folders above."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    def copy(self, file: Path, folder: str = "/root") -> str:
        """Take a file from outside; returns where it is inside."""
        shutil.copy(file, self.root / folder.lstrip("/"))
        return f"{folder}/{file.name}"

    def show(self, unit: str, key: str) -> str:
        """One property of a unit."""
        return self("systemctl", "show", "--value", "-p", key, unit).stdout.strip()

    def journal(self, unit: str = "") -> str:
        """What a unit, or all of them, wrote into the journal."""
        of = ["-u", unit] if unit else ["-n", "60"]
        return self("journalctl", "--no-pager", "-o", "cat", *of, check=False).stdout

    def close(self) -> None:
        if self._init:
            with suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)  # process 1 of its namespace: all others end with it
        if self._unshare:
            self._unshare.wait(30)
        self._init, self._unshare = 0, None
        for mounted in (self.root, self.folder):
            subprocess.run([program("umount"), "--lazy", str(mounted)], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        names = ("--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net")
        with (self.folder / "console").open("wb") as console:
            self._unshare = subprocess.Popen(
                [program("unshare"), *names, "--kill-child", "bash", str(_INIT), str(self.root)],
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
            )  # fmt: skip
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        wait_until(lambda: children.read_text().split(), 10, "the box to begin")
        self._init = int(children.read_text().split()[0])
        wait_until(lambda: self._comm() == "systemd", 20, f"systemd: {(self.folder / 'console').read_text()}")
        wait_until(lambda: self._state() in ("running", "degraded"), 40, "the box to be up")

    def _comm(self) -> str:
        return Path(f"/proc/{self._init}/comm").read_text().strip()

    def _state(self) -> str:
        return self("systemctl", "is-system-running", check=False).stdout.strip()


@cache
def missing() -> str:
    """Why there can be no box here; empty where there can."""
    if os.geteuid() != 0:
        return "which needs root"
    if not (TREE.parent / "stamp").exists():
        return "whose Debian tests/parts/setup.sh could not have"
    try:
        with Box():
            pass
    except (OSError, RuntimeError, subprocess.SubprocessError) as exc:
        return f"which cannot be started here: {str(exc).strip().splitlines()[0]}"
    return ""


def _run(name: str, *arguments: str) -> None:
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()}")
