"""Completion in real shells: what each offers for a line, with a service and without."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_support import COMMAND, run

pytest.importorskip("shtab", reason="NOT TESTED: shells' completion, as shtab is not installed")
UNITS = ["app", "ap two", "$(touch here)", "db"]


@pytest.fixture
def environment(service, tmp_path):
    for unit in UNITS:
        service.run("sync", "start", unit)
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    return service.environment() | {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb"}


def shell(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT TESTED: completion in {name}, which is not installed")
    return found


def in_bash(line, environment, directory):
    """Give what bash offers for a line, by calling what it would call."""
    script = f"""
        eval "$(fastdag completion bash)"
        COMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        $(complete -p fastdag | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [shell("bash"), "--norc", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=directory,
        check=False,
    )
    assert done.stderr == ""
    return [offer for offer in done.stdout.splitlines() if offer]


def in_zsh(line, environment, directory):
    """Give what zsh offers for a line, by pressing the key in a terminal."""
    (directory / ".zshrc").write_text(
        "autoload -Uz compinit; compinit -u -D; PS1='> '; unsetopt zle_bracketed_paste 2>/dev/null\n"
        "setopt no_beep; zstyle ':completion:*' list-prompt ''\n"
        'eval "$(fastdag completion zsh)"\n'
        # prints what there is instead of inserting it
        "list-them() { compadd() { local -a all\n"
        'builtin compadd -O all "$@"; print -rl -- "${(@)all/#/=}" >> $HOME/out\n'
        'builtin compadd "$@" }; _main_complete; unfunction compadd }\n'
        "zle -C list-them list-choices list-them; bindkey '^I' list-them\n"
    )
    return in_terminal([shell("zsh"), "-i"], line, environment, directory)


def in_terminal(command, line, environment, directory):
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(directory)
        os.execve(command[0], command, environment)

    def until(word):
        text = b""
        while word not in text:
            text += os.read(terminal, 10_000)

    until(b"> ")
    os.write(terminal, f"{line}\t".encode() + b"\x15echo do''ne\n")
    until(b"done")
    os.write(terminal, b"exit\n")
    while True:
        try:
            os.read(terminal, 10_000)
        except OSError:
            break
    os.close(terminal)
    os.waitpid(pid, 0)
    out = directory / "out"
    return [found.removeprefix("=") for found in out.read_text().splitlines() if found] if out.exists() else []


def in_fish(line, environment, directory):
    """Give what fish offers for a line, as it says itself."""
    script = f"fastdag completion fish | source; complete -C {line!r}"
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=directory,
        check=False,
    )
    assert done.stderr == ""
    return [offer.split("\t")[0] for offer in done.stdout.splitlines()]


SHELLS = [("bash", in_bash), ("zsh", in_zsh), ("fish", in_fish)]


@pytest.mark.parametrize(("name", "offered"), SHELLS, ids=["bash", "zsh", "fish"])
def test_what_is_offered(environment, tmp_path, name, offered):
    def names(line):
        # a name is offered as it would have to be written; fish lists it bare
        return sorted(re.sub(r"\\(.)", r"\1", offer) for offer in offered(line, environment, tmp_path))

    assert {"sync", "serve", "completion"} <= set(names("fastdag " if name != "bash" else "fastdag ''"))
    (tmp_path / "out").unlink(missing_ok=True)
    assert {"start", "status"} <= set(names("fastdag sync sta"))
    (tmp_path / "out").unlink(missing_ok=True)
    assert names("fastdag sync status a") == ["ap two", "app"]
    (tmp_path / "out").unlink(missing_ok=True)
    assert set(UNITS) <= set(names("fastdag sync want x " if name != "bash" else "fastdag sync want x ''"))
    (tmp_path / "out").unlink(missing_ok=True)
    assert "--timeout" in names("fastdag sync start --t")
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(("name", "offered"), SHELLS, ids=["bash", "zsh", "fish"])
def test_nothing_is_said_where_there_is_no_service(environment, tmp_path, name, offered):
    environment["FASTDAG_SOCKET"] = str(tmp_path / "nobody")
    assert offered("fastdag sync status a", environment, tmp_path) == []


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "shtab.py").write_text("raise ModuleNotFoundError('no', name='shtab')")
    done = run("completion", "bash", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == (
        "error: fastdag completion needs the package shtab; install it with: pip install 'fastdag[service]'\n"
    )
