"""Where a command is started: odd homes, folders that are gone, rights that make files nobody's, old locales."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import raysweep
from raysweep.surroundings import settle


@pytest.mark.parametrize(
    ("home", "settled"), [(None, "/"), ("", "/"), ("rel", "{here}/rel"), ("/gone/x", "/gone/x")]
)  # fmt: skip
def test_there_is_a_home(home: str | None, settled: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", home or "")
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    if home is None:  # a user whom this machine does not know, as in containers
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    settle()
    assert (os.environ["HOME"], os.environ["MPLBACKEND"]) == (settled.format(here=tmp_path), "svg")


def _run(folder: Path, script: str, **env: str) -> subprocess.CompletedProcess:
    command = [script, sys.executable]
    return subprocess.run(["sh", "-c", *command], cwd=folder, env=os.environ | env, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('rmdir ../gone; "$0" -m raysweep.cli datasets list', "the folder that this was started in is gone; change to"),
        ('umask 777; "$0" -m raysweep.cli datasets list', "umask 777: what is written could not be used by yourself"),
        ('ln -s l l; "$0" -m raysweep.cli datasets new l', ""),  # in the words of each Python
    ],
)
def test_nothing_is_done_where_nothing_could_be(script: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = _run(tmp_path / "gone", script)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"raysweep: {words}")


def test_names_of_files_are_utf_8_in_an_old_locale(tmp_path: Path) -> None:
    (tmp_path / "Käse µ").touch()
    look = "os.listdir() == sys.argv[1:], lookup(sys.stdout.encoding).name, os.environ.get('PYTHONIOENCODING')"
    code = "import os, sys; from codecs import lookup; from raysweep.surroundings import speak_utf8; speak_utf8(); {}"
    code = code.format(f"print(ascii(sys.argv), {look})")
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "CODE": code}
    done = _run(tmp_path, '"$0" -c "$CODE" "Käse µ"', **old)
    assert done.stderr == b""
    assert done.stdout.decode() == "['-c', 'K\\xe4se \\xb5'] True ascii None\n"


def test_an_empty_part_of_pythonpath_is_not_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("import sys\nsys.exit('usage: FILE ...')\n")
    command = 'PYTHONPATH="$TOOLS" "$0" -P -m raysweep.cli datasets list >/dev/null'
    root = str(Path(raysweep.__file__).parents[1])
    assert _run(tmp_path, command, TOOLS=f":{root}").returncode == 0
    assert _run(tmp_path, command, TOOLS=f".:{root}").stderr == b"usage: FILE ...\n"  # as asked for
