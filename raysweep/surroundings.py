"""Where a command is started, looked at before it does anything: what libraries would end at, or do wrong unseen."""

import os
import sys
import sysconfig

from raysweep.errors import RequestError

_OWNERS = 0o700  # rights
_STDLIB = sysconfig.get_path("stdlib")
_TRIED = "_RAYSWEEP_UTF8"


def speak_utf8() -> None:
    """Start this process anew, in its place, where names of files would not be UTF-8: an old locale of a cluster.

    Python would ask for other files than Arrow and the libraries of slides do, or refuse names that a study has. What
    is printed stays in the coding of the terminal. Does nothing where that was tried already.
    """
    tried = os.environ.pop(_TRIED, None)
    if tried == "terminal":
        del os.environ["PYTHONIOENCODING"]  # it was this process's alone
    if tried or sys.getfilesystemencoding().lower() in ("utf-8", "utf8"):
        return
    environment = os.environ | {"PYTHONUTF8": "1", _TRIED: "names"}
    if sys.stdout is not None and "PYTHONIOENCODING" not in os.environ:
        environment |= {"PYTHONIOENCODING": sys.stdout.encoding, _TRIED: "terminal"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def settle() -> None:
    """Raise RequestError where nothing could work: the working folder is gone, or new files would be nobody's.

    A user without a home folder has that of containers, `/`: libraries look for it as they are imported, and Ray's end
    there without one. One that starts from the working folder does not move with it. Figures are files: a backend of
    matplotlib's that a notebook has named, and is not here, would end its import.
    """
    here = working_folder()
    mask = os.umask(0o077)
    os.umask(mask)
    if mask & _OWNERS:
        raise RequestError(f"umask {mask:03o}: what is written could not be used by yourself; set umask 022 or 077")
    home = os.path.expanduser("~")
    os.environ["HOME"] = "/" if home == "~" else os.path.join(here, home)
    os.environ["MPLBACKEND"] = "svg"
    _import_nothing_from(here)


def _import_nothing_from(here: str) -> None:
    """Take the working folder out of where Python looks for packages, if only an empty part of PYTHONPATH means it.

    (`export PYTHONPATH=$PYTHONPATH:/tools` makes one.) A script there may be called like a library.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = list(filter(None, given))
    if given == [""] or len(named) == len(given) or here in map(os.path.abspath, named):
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(named)
    libraries = sys.path.index(_STDLIB) if _STDLIB in sys.path else len(sys.path)
    sys.path[:libraries] = [path for path in sys.path[:libraries] if os.path.abspath(path) != here]


def working_folder() -> str:
    """The folder that this process is in. Raises RequestError where it is there no more."""
    try:
        return os.getcwd()
    except OSError as error:
        raise RequestError("the folder that this was started in is gone; change to one that is there") from error
