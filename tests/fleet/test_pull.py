"""A configuration comes from a repository only if it was signed, is new, and is right; else nothing changes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from fleet.repository import MACHINE, Repository, commit_tree, raw_tree
from gateway.errors import ConfigErrors, GatewayError
from gateway.fleet import FleetError, Outcome, git, pull, read_settings
from gateway.fleet.place import Place, Version
from gateway.runtime.registry import protocols
from parts.gateway import COMMAND, gateway
from parts.process import wait_until


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "git", tmp_path / "data")


class Box:
    """One gateway: where its configurations are, and what it was told."""

    def __init__(self, repository: Repository, folder: Path, more: str = "") -> None:
        self.repository, self.folder, self.more = repository, folder, more
        self.told: list[Path] = []
        self.refuses = ""

    def pull(self, **how: bool) -> Outcome:
        file = self.repository.settings(self.folder, self.more)
        return pull(read_settings(file), protocols(), self.reload, now=lambda: self.repository.now, **how)

    def reload(self, current: Path) -> str | None:
        if self.refuses:
            raise GatewayError(self.refuses)
        self.told.append(current.resolve())
        return "taken over"

    @property
    def machines(self) -> list[str]:
        return sorted(file.stem for file in (self.folder / "current" / "machines").glob("*.yaml"))

    @property
    def current(self) -> str:
        found = Place(self.folder).current
        return found.id if found else ""

    def refused(self, step: str, **how: bool) -> str:
        """It refuses at this step, and everything is as it was, to the byte."""
        before, told = self.contents(), len(self.told)
        with pytest.raises(FleetError) as caught:
            self.pull(**how)
        assert caught.value.step == step, caught.value
        assert self.contents() == before
        assert len(self.told) == told
        return str(caught.value)

    def contents(self) -> dict[str, bytes | str]:
        found: dict[str, bytes | str] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_symlink():
                found[str(path)] = str(path.readlink())
            elif path.is_file() and path.name != "lock":
                found[str(path)] = path.read_bytes()
        return found


@pytest.fixture
def box(repository, tmp_path) -> Box:
    return Box(repository, tmp_path / "box")


@pytest.fixture
def placed(repository, box) -> Box:
    """One good configuration is in place."""
    repository.commit()
    box.pull()
    return box


def test_a_signed_one_is_put_into_place(repository, box, tmp_path):
    commit = repository.commit()
    outcome = box.pull()
    assert (outcome.what, outcome.id, outcome.signer, outcome.files) == ("placed", commit, "anna@acme", 2)
    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(repository.keys["anna"])], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert outcome.key == fingerprint
    assert (box.folder / "current" / "machines" / "press.yaml").read_text() == MACHINE
    assert sorted(p.name for p in (box.folder / "current").iterdir()) == ["gateway.yaml", "machines"]
    assert box.told == [(box.folder / "current").resolve()]
    assert gateway("config", "check", str(box.folder / "current")).returncode == 0


def test_nothing_new_is_nothing_done(repository, placed):
    before = placed.contents()
    assert placed.pull().what == "unchanged"
    assert placed.contents() == before
    assert len(placed.told) == 1


def test_a_later_one_replaces_it_and_the_old_one_is_kept_for_a_while(repository, box):
    box.more = "keep: 2\n"
    ids = []
    for name in "abcd":
        repository.write(f"gateways/edge-01/machines/{name}.yaml", MACHINE)
        ids.append(repository.commit())
        assert box.pull().what == "placed"
    assert box.machines == ["a", "b", "c", "d", "press"]
    assert sorted(v.name.partition("-")[2] for v in (box.folder / "versions").iterdir()) == sorted(ids[-2:])


def test_files_of_the_gateway_win_over_common_ones(repository, box):
    repository.write("common/machines/press.yaml", MACHINE.replace("temp", "from_common"))
    repository.write("gateways/edge-01/machines/press.yaml", MACHINE.replace("temp", "own"))
    repository.write("gateways/edge-02/machines/foreign.yaml", MACHINE)
    repository.commit()
    box.pull()
    assert "own" in (box.folder / "current/machines/press.yaml").read_text()
    assert box.machines == ["press"]


def test_secrets_stand_beside_it(repository, box, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "mqtt").write_text("hunter2")
    (secrets / "mqtt").chmod(0o600)
    text = (repository.work / "gateways/edge-01/gateway.yaml").read_text()
    repository.write(
        "gateways/edge-01/gateway.yaml", text.replace("delivery:", "user: u, password: {secret: mqtt}, delivery:")
    )
    repository.commit()
    with pytest.raises(ConfigErrors):
        box.pull()
    box.more = f"secrets: {secrets}\n"
    assert box.pull().what == "placed"


# --- who signed it -----------------------------------------------------------------------------------------------------


def test_unsigned(repository, placed):
    repository.commit(None)
    assert "not signed by one of the allowed signers" in placed.refused("signature")


def test_signed_by_another_key(repository, placed):
    repository.commit("mallory")
    assert "a key that is not in allowed_signers" in placed.refused("signature")
    repository.allow("anna", "mallory")  # the control: it was only the key
    assert placed.pull().signer == "mallory@acme"


def test_changed_after_it_was_signed(repository, placed):
    """Another tree under the signature of a good commit, which is what a server could hand out."""
    repository.write("common/machines/press.yaml", MACHINE)
    good = repository.commit()
    repository.write("common/machines/evil.yaml", MACHINE)
    repository.git("add", "--all")
    tree = repository.git("write-tree").strip()
    signed = repository.git("cat-file", "commit", good)
    tampered = f"tree {tree}\n" + signed.partition("\n")[2]
    made = repository.git("hash-object", "-t", "commit", "-w", "--stdin", input=tampered.encode()).strip()
    repository.git("update-ref", "refs/heads/main", made)
    assert "changed after it was signed" in placed.refused("signature")


def test_signed_for_something_else(repository, placed):
    """A key that may sign files only, as ssh-keygen has namespaces for."""
    repository.allowed.write_text(f'anna@acme namespaces="file" {repository.public("anna")}\n')
    repository.commit()
    placed.refused("signature")


def test_a_key_that_was_revoked(repository, placed):
    revoked = repository.folder / "revoked"
    revoked.write_text(repository.public("anna") + "\n")
    placed.more = f"revoked: {revoked}\n"
    repository.commit()
    placed.refused("signature")


def test_a_signature_of_another_kind_is_not_judged(repository, placed):
    """git would ask gpg, which has keys of its own, for whatever looks like a signature of gpg."""
    commit = repository.git("cat-file", "commit", repository.commit(None))
    head, _, message = commit.partition("\n\n")
    armour = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ==\n -----END PGP SIGNATURE-----"
    made = repository.git(
        "hash-object", "-t", "commit", "-w", "--stdin", input=f"{head}\n{armour}\n\n{message}".encode()
    )
    repository.git("update-ref", "refs/heads/main", made.strip())
    placed.refused("signature")


def test_the_settings_of_whoever_runs_it_do_not_count(repository, placed, tmp_path, monkeypatch):
    """No trust comes from git's own settings on this box."""
    allowed = tmp_path / "others"
    allowed.write_text(f"mallory@acme {repository.public('mallory')}\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(f'[gpg "ssh"]\n allowedSignersFile = {allowed}\n')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "gpg.ssh.allowedSignersFile")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(allowed))
    repository.commit("mallory")
    placed.refused("signature")


def test_a_signed_tag_instead_of_a_branch(repository, box):
    box.more = "tag: production\n"
    commit = repository.commit(None)
    repository.git("tag", "production")
    assert "is a commit, not a signed tag" in box.refused("signature")
    repository.git("tag", "-d", "production")
    repository.git("tag", "-s", "-m", "to the plants", "production", signer="anna")
    outcome = box.pull()
    assert (outcome.what, outcome.signer) == ("placed", "anna@acme")
    assert outcome.id != commit  # that of the tag
    assert box.pull().what == "unchanged"
    repository.now += 60  # an older tag under this name
    repository.git("tag", "-s", "-m", "never meant for plants", "experiment", signer="anna")
    repository.git("update-ref", "refs/tags/production", "refs/tags/experiment")
    assert "under another name" in box.refused("signature")


# --- how old it is -----------------------------------------------------------------------------------------------------


def test_an_older_one_is_refused_though_it_is_signed(repository, placed):
    first = placed.current
    repository.write("common/machines/new.yaml", MACHINE)
    second = repository.commit()
    placed.pull()
    repository.git("update-ref", "refs/heads/main", first)  # what somebody in the place of the server could do
    assert "only with --allow-older" in placed.refused("age")
    assert placed.pull(allow_older=True).what == "placed"
    assert placed.current == first
    repository.git("update-ref", "refs/heads/main", second)
    assert placed.pull().id == second


def test_one_of_the_same_second_is_not_newer(repository, placed):
    repository.write("common/machines/new.yaml", MACHINE)
    repository.commit(at=repository.now)
    placed.refused("age")


def test_one_from_the_future_is_refused(repository, placed):
    repository.commit(at=repository.now + 3 * 86400)
    repository.now -= 3 * 86400
    assert "in the future" in placed.refused("age")


# --- what is in it -----------------------------------------------------------------------------------------------------


def test_a_symbolic_link_is_refused(repository, placed):
    (repository.work / "common" / "leak.pem").symlink_to("/etc/passwd")
    repository.commit()
    assert "common/leak.pem: is a symbolic link" in placed.refused("files")


def test_a_submodule_is_refused(repository, placed):
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{repository.head},common/sub")
    tree = repository.git("write-tree").strip()
    commit_tree(repository, tree)
    assert "common/sub: is a submodule" in placed.refused("files")


@pytest.mark.parametrize("name", ["..", ".git", ".", "a\\b", "tab\tname", ".hidden"])
def test_a_path_that_leads_out_is_refused(repository, placed, name):
    """Such trees are made by hand; git refuses most of them when it fetches, and we those that it lets through."""
    blob = repository.git("hash-object", "-w", "--stdin", input=b"x").strip()
    inner = raw_tree(repository, [(b"100644", name.encode(), blob)])
    here = raw_tree(repository, [(b"40000", b"edge-01", inner)])
    commit_tree(repository, raw_tree(repository, [(b"40000", b"gateways", here)]))
    with pytest.raises(FleetError) as caught:
        placed.pull()
    assert caught.value.step in ("fetch", "files")


def test_a_name_with_slashes_in_it_is_refused(repository, placed):
    blob = repository.git("hash-object", "-w", "--stdin", input=b"x").strip()
    inner = raw_tree(repository, [(b"100644", b"../../../evil", blob)])
    here = raw_tree(repository, [(b"40000", b"edge-01", inner)])
    commit_tree(repository, raw_tree(repository, [(b"40000", b"gateways", here)]))
    with pytest.raises(FleetError):
        placed.pull()
    assert not (placed.folder.parent / "evil").exists()


def test_huge_files_are_refused_before_they_are_written(repository, placed):
    repository.write("common/big.bin", b"\0" * (5 * 2**20))  # it packs to nearly nothing
    repository.commit()
    assert "common/big.bin: has 5,242,880 bytes" in placed.refused("files")


def test_a_huge_repository_is_refused_while_it_is_fetched(repository, placed):
    placed.more = "max_size: 1MiB\n"
    repository.write("elsewhere/noise.bin", os.urandom(3 * 2**20))
    repository.commit()
    assert "more than max_size" in placed.refused("fetch")


def test_many_small_files_are_bounded_too(repository, placed):
    placed.more = "max_size: 1MiB\n"
    for i in range(5):
        repository.write(f"common/{i}.bin", bytes([i]) * (300 * 1024))
    repository.commit()
    assert "max_size allows" in placed.refused("files")


def test_what_only_points_to_a_large_file_is_refused(repository, placed):
    repository.write("common/profiles/a.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    repository.commit()
    assert "git LFS" in placed.refused("files")


def test_secrets_in_the_repository_are_refused(repository, placed):
    repository.write("common/secrets/mqtt", "hunter2")
    repository.commit()
    assert "do not belong" in placed.refused("files")


def test_no_folder_for_this_gateway(repository, box):
    repository.gateway = "edge-99"
    repository.commit()
    assert "nothing below gateways/edge-99/" in box.refused("files")


def test_hooks_filters_and_attributes_are_not_acted_on(repository, placed, tmp_path):
    repository.write(".gitattributes", "* filter=evil\n")
    repository.write("common/.gitattributes-not", "")
    (repository.work / "common/.gitattributes-not").unlink()
    repository.git("config", "filter.evil.smudge", f"touch {tmp_path / 'ran'}")
    repository.git("config", "core.hooksPath", "hooks")
    repository.write("hooks/post-checkout", f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    repository.commit()
    assert placed.pull().what == "placed"
    assert not (tmp_path / "ran").exists()


# --- whether it is right -----------------------------------------------------------------------------------------------


def test_a_broken_configuration_changes_nothing_and_names_its_place(repository, placed):
    repository.write("gateways/edge-01/machines/press.yaml", MACHINE.replace("int16", "int23"))
    repository.commit()
    before = placed.contents()
    with pytest.raises(ConfigErrors) as caught:
        placed.pull()
    (error,) = caught.value.errors
    assert (error.file, error.line) == ("gateways/edge-01/machines/press.yaml", 2)
    assert placed.contents() == before


def test_broken_yaml(repository, placed):
    repository.write("common/machines/press.yaml", "connection: [\n")
    repository.commit()
    before = placed.contents()
    with pytest.raises(ConfigErrors, match=r"common/machines/press\.yaml"):
        placed.pull()
    assert placed.contents() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("id: edge-01", "id: edge-02", "this is gateway 'edge-01'"), ("data_dir: /", "data_dir: ", "absolute path")],
)
def test_what_would_hurt_on_this_box_is_a_mistake(repository, placed, old, new, message):
    file = "gateways/edge-01/gateway.yaml"
    repository.write(file, (repository.work / file).read_text().replace(old, new))
    repository.commit()
    with pytest.raises(ConfigErrors, match=message):
        placed.pull()


def test_a_gateway_that_refuses_keeps_what_it_had(repository, placed):
    before = placed.current
    repository.write("common/machines/new.yaml", MACHINE)
    repository.commit()
    placed.refuses = "cannot be built"
    with pytest.raises(FleetError, match="goes on with the old one: cannot be built") as caught:
        placed.pull()
    assert caught.value.step == "reload"
    assert (placed.current, placed.machines) == (before, ["press"])
    placed.refuses = ""
    assert placed.pull().what == "placed"


def test_what_was_changed_on_this_box_is_named(repository, placed):
    assert Place(placed.folder).changed() == []
    current = placed.folder / "current"
    (current / "gateway.yaml").write_text((current / "gateway.yaml").read_text() + "# by hand\n")
    (current / "machines" / "own.yaml").write_text(MACHINE)
    (current / "machines" / "press.yaml").rename(placed.folder / "press.yaml")
    changed = ["gateway.yaml", "machines/own.yaml", "machines/press.yaml"]
    assert Place(placed.folder).changed() == changed
    settings = placed.repository.settings(placed.folder)
    for told in (
        gateway("fleet", "show", "--settings", str(settings)),
        gateway("fleet", "pull", "--settings", str(settings)),
    ):
        assert f"changed on this box: {', '.join(changed)}" in told.stdout
    assert json.loads(gateway("fleet", "show", "--settings", str(settings), "--json").stdout)["changed"] == changed
    repository.write("common/machines/new.yaml", MACHINE)
    repository.commit()
    assert placed.pull().changed == tuple(changed)
    assert Place(placed.folder).changed() == []
    assert placed.machines == ["new", "press"]


def test_what_is_tried_on_a_new_box_leaves_nothing(repository, box):
    repository.commit()
    assert box.pull(try_only=True).what == "would place"
    assert not box.folder.exists()


def test_what_git_says_is_one_sentence(repository, placed):
    repository.work.rename(repository.folder / "elsewhere")
    said = placed.refused("fetch")
    assert "Could not read from remote repository" in said  # followed by an empty line, as git says it
    assert "; ;" not in said


def test_nothing_new_is_said_once(repository, placed, tmp_path):
    """Looked at every second until there is something new: two lines about it, and one before."""
    file = repository.settings(placed.folder)
    command = [COMMAND, "fleet", "pull", "--every", "1s", "--settings", str(file)]
    with (tmp_path / "said").open("w+") as out, subprocess.Popen(command, stdout=out, text=True) as process:
        try:
            for _ in range(6):  # a look makes a folder and removes it
                before = placed.folder.stat().st_mtime_ns
                wait_until(lambda: placed.folder.stat().st_mtime_ns != before, 20, "another look")  # noqa: B023
            commit = repository.commit()
            wait_until(lambda: placed.current == commit, 20, "the new one")
            wait_until(lambda: commit[:12] in (tmp_path / "said").read_text(), 20, "a word of it")
        finally:
            process.terminate()
    assert (tmp_path / "said").read_text().count("nothing new") == 1


def test_it_is_only_tried(repository, placed):
    repository.write("common/machines/new.yaml", MACHINE)
    repository.commit()
    before = placed.contents()
    assert placed.pull(try_only=True).what == "would place"
    assert placed.contents() == before


# --- when it cannot be fetched -----------------------------------------------------------------------------------------


def test_a_repository_that_is_away(repository, placed):
    away = repository.work.rename(repository.folder / "elsewhere")
    placed.refused("fetch")
    away.rename(repository.work)
    assert placed.pull().what == "unchanged"


def test_a_branch_that_is_gone(repository, placed):
    placed.more = "branch: production\n"
    placed.refused("fetch")


def test_a_server_that_says_nothing_is_given_up(repository, box, tmp_path, monkeypatch):
    """ssh that hangs: it and all it started are ended."""
    stub = tmp_path / "bin" / "ssh"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path / 'pid'}; wait\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    file = repository.settings(box.folder, "timeout: 1s\n")
    file.write_text(file.read_text().replace(repository.url, "git@127.0.0.1:fleet.git"))
    repository.commit()
    with pytest.raises(FleetError, match="no end within 1 s"):
        pull(read_settings(file), protocols(), box.reload)
    sleeper = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{sleeper}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_two_at_once(repository, placed):
    with Place(placed.folder).held():
        assert "another" in placed.refused("place")


# --- what was cut off --------------------------------------------------------------------------------------------------

CUT = """\
import os, sys
from pathlib import Path
from gateway.fleet import pull, read_settings
from gateway.runtime.registry import protocols

left = int(sys.argv[2])

def audit(event, arguments):
    global left
    if event in ("open", "os.rename", "os.mkdir", "os.symlink", "os.remove", "os.rmdir", "subprocess.Popen", "shutil.rmtree"):
        if event == "open" and str(arguments[0]).find(sys.argv[3]) < 0:
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)

settings, known = read_settings(Path(sys.argv[1])), protocols()
sys.addaudithook(audit)
pull(settings, known, lambda current: Path(sys.argv[3], "told").write_text("yes") and "told", now=lambda: 1_790_009_000)
print("done", left)
"""


def test_killed_at_every_step_it_is_the_old_or_the_new_one(repository, placed, tmp_path):
    """kill -9 before the n-th system call that changes something, for all n, until a pull runs through."""
    import sys

    script = tmp_path / "cut.py"
    script.write_text(CUT)
    old = placed.current
    repository.write("common/machines/new.yaml", MACHINE)
    new = repository.commit()
    file = repository.settings(placed.folder)
    seen, n, step = set(), 1, 3
    while True:
        done = subprocess.run(
            [sys.executable, str(script), str(file), str(n), str(placed.folder)], capture_output=True, text=True
        )
        current = placed.current
        seen.add(current)
        assert current in (old, new)
        assert placed.machines == (["press"] if current == old else ["new", "press"])
        for name in placed.machines:
            assert (placed.folder / "current/machines" / f"{name}.yaml").read_text() == MACHINE
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        if current == new:  # back to the state before it, by hand
            Place(placed.folder).point(next(v for v in versions(placed.folder) if v.id == old))
            (placed.folder / "reloaded").write_text(next(v.name for v in versions(placed.folder) if v.id == old))
        n += step
        step = 1 if n > 30 else 3
    assert seen == {old, new}
    assert n > 20  # it was cut at many places
    assert placed.pull().what == "unchanged"


def test_a_gateway_that_was_not_told_is_told_later(repository, placed):
    (placed.folder / "reloaded").unlink()  # as if the power had failed between the two
    assert placed.pull().reload == "taken over"
    assert placed.pull().reload == ""


def versions(folder: Path) -> list[Version]:
    return [version for each in (folder / "versions").iterdir() if (version := Version.of(each.name))]


# --- the settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("url: http://git.acme.lan/x", 6, "is not an address we fetch from"),
        ("url: git://git.acme.lan/x", 6, "is not an address we fetch from"),
        ("url: 'ext::sh -c id'", 6, "no blanks"),
        ("url: --upload-pack=id", 6, "is not an address we fetch from"),
        ("url: ssh://-oProxyCommand=id/x", 6, "looks like an option"),
        ("url: https://u:pw@git.acme.lan/x", 6, "no password in an address"),
        ("branch: --all", 9, "cannot be a branch"),
        ("branch: a..b", 9, "cannot be a branch"),
        ("folder: here", 9, "absolute path"),
        ("allowed_signers: /nowhere", 18, "there is no such file"),
        ("keep: 1", 7, ""),
        ("alowed: x", 1, "not a key"),
    ],
)
def test_a_mistake_in_the_settings_is_shown_at_its_line(repository, tmp_path, line, column, message):
    file = repository.settings(tmp_path / "box")
    key = line.partition(":")[0]
    lines = [each for each in file.read_text().splitlines() if not each.startswith(f"{key}:")]
    file.write_text("\n".join([*lines, line]) + "\n")
    with pytest.raises(ConfigErrors) as caught:
        read_settings(file)
    (error,) = caught.value.errors
    assert (error.line, error.column) == (len(lines) + 1, column)
    assert message in str(error)


def test_signers_that_others_may_write_are_refused(repository, tmp_path):
    repository.allowed.chmod(0o666)
    with pytest.raises(ConfigErrors, match="chmod go-w"):
        read_settings(repository.settings(tmp_path / "box"))


def test_what_is_no_signer_is_named_by_its_line(repository, tmp_path):
    good = repository.allowed.read_text()
    repository.allowed.write_text(f"# ours\n\n{good}anna@acme AAAAC3NzaC1lZDI1NTE5AAAAI\n")
    with pytest.raises(ConfigErrors, match=r"line 4 names no signer and key\n(.*\n)*.*ssh-ed25519 AAAA"):
        read_settings(repository.settings(tmp_path / "box"))
    for key in ("<html>404</html>", "a" * 50_000, good.replace(" ssh-", " sh-")):
        repository.allowed.write_text(key + "\n")
        with pytest.raises(ConfigErrors, match="names no signer and key"):
            read_settings(repository.settings(tmp_path / "box"))
    key = good.split('"')[-1].strip()
    for line in (f"a@b,c@d {key} a comment", f'* cert-authority,namespaces="git,x" {key}', good):
        repository.allowed.write_text(line + "\n")
        read_settings(repository.settings(tmp_path / "box"))


def test_no_settings_yet(tmp_path):
    done = gateway("fleet", "show", "--settings", str(tmp_path / "fleet.yaml"))
    assert done.returncode == 3
    assert "there is no such file" in done.stderr
    assert "/usr/share/shopfloor-gateway/fleet" in done.stderr


# --- the command -------------------------------------------------------------------------------------------------------


def test_the_command(repository, tmp_path):
    settings = repository.settings(tmp_path / "box")
    repository.commit(None)
    done = gateway("fleet", "pull", "--settings", str(settings))
    assert done.returncode == 1
    assert done.stderr.endswith("Nothing has changed.\n")
    done = gateway("fleet", "pull", "--settings", str(settings), "--json")
    assert (done.returncode, json.loads(done.stdout)["step"]) == (1, "signature")
    commit = repository.commit()
    done = gateway("fleet", "pull", "--once", "--settings", str(settings))
    assert done.returncode == 0, done.stderr
    assert f"in place: {commit[:12]}" in done.stdout
    shown = json.loads(gateway("fleet", "show", "--settings", str(settings), "--json").stdout)
    assert (shown["id"], shown["gateway"]) == (commit, "edge-01")
    repository.write("gateways/edge-01/gateway.yaml", "machnes: {}\n")
    repository.commit()
    done = gateway("fleet", "pull", "--settings", str(settings))
    assert done.returncode == 3
    assert "gateways/edge-01/gateway.yaml:1:1: error: machnes" in done.stderr


# --- what it costs and who can read it -----------------------------------------------------------------------------------


def test_only_the_owner_can_look_into_what_is_placed(repository, box):
    """A password that somebody wrote in clear is not for every user of the box."""
    repository.write("common/profiles/deep/er/p.yaml", "protocol: modbus\nsignals: {}\n")
    repository.commit()
    (box.folder / "versions").mkdir(parents=True, mode=0o755)  # of an earlier release
    before = os.umask(0o022)
    try:
        assert box.pull().what == "placed"
    finally:
        os.umask(before)
    found = [box.folder / "versions", *(box.folder / "versions").rglob("*")]
    modes = {(each.is_dir(), stat.S_IMODE(each.lstat().st_mode)) for each in found if not each.is_symlink()}
    assert modes == {(True, 0o700), (False, 0o600)}
    assert {each.lstat().st_uid for each in found} == {os.geteuid()}


@pytest.mark.root
def test_what_root_fetches_belongs_to_the_gateway(repository, box):
    box.folder.mkdir()
    os.chown(box.folder, 61234, 61234)
    repository.commit()
    assert box.pull().what == "placed"
    others = {str(each) for each in box.folder.rglob("*") if not each.is_symlink() and each.lstat().st_uid != 61234}
    assert others == set()


def test_a_little_pack_does_not_take_all_the_memory(repository, placed, monkeypatch):
    """A commit of 150 MB packs into 150 KB, and git has to unpack it before anybody can look at its signature."""
    monkeypatch.setattr(git, "MEMORY", 96 * 2**20)
    repository.commit()
    assert placed.pull().what == "placed"  # what is usual needs less
    tree = repository.git("rev-parse", "HEAD^{tree}").strip()
    head = f"tree {tree}\nauthor A <a@acme> {repository.now} +0000\ncommitter A <a@acme> {repository.now} +0000\n\n"
    bomb = repository.git("hash-object", "-t", "commit", "-w", "--stdin", input=head.encode() + b"x" * 150_000_000)
    repository.git("update-ref", "refs/heads/main", bomb.strip())
    assert "takes more than 96 MiB of memory" in placed.refused("fetch")
