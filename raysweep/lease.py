"""One process at a time in a folder, or several that share its work: files say who they are, kept fresh meanwhile."""

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from raysweep.errors import RequestError, StorageError, WorkError
from raysweep.exclusive import Entry, alive, new_entry, read_entry, seems_gone, take
from raysweep.storage import Storage

_FILE = "lease.json"
_SHARED = "sharing"  # a file for each process that shares the folder's work, and in `claims` one for what each is at
_BEAT_SECONDS = 5.0
_AWAY_SECONDS = 45.0  # a process that was away for so long looks whether others have taken over what it had
_ARRIVE_SECONDS = 2.0  # on object storage: for one that believes itself alone to have written a claim
_FELLOWS_SECONDS = 15.0  # between looks at whether the others live
_LOOK_SECONDS = 1.0  # between looks at what another process has


def holders(folder: Storage) -> list[Entry]:
    """Who works in the folder now (host, pid, since, beat): one alone, or several in the order that they came in.

    Takes up to 15 s where a process of another machine seems to have died, or has another clock.
    """
    end = time.monotonic() + 3 * _BEAT_SECONDS
    while any(map(seems_gone, found := _there(folder))) and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
    return [entry for entry in found if alive(entry) and not seems_gone(entry)]


def _there(folder: Storage) -> list[Entry]:
    """Entries of the living and the dead, of one that has the folder alone first."""
    alone, shared = read_entry(folder, _FILE), folder.at(_SHARED)
    found = [read_entry(shared, name) for name in shared.names() if name.endswith(".json")]
    return ([alone] if alone else []) + sorted(filter(None, found), key=lambda entry: str(entry["since"]))


def _settle(folder: Storage, waits: Callable[[str], None]) -> None:
    """Wait until those that seem gone have beaten, or were silent for so long that they are dead."""
    told = False
    while gone := [entry for entry in _there(folder) if seems_gone(entry)]:
        if not told:
            waits(who(gone[0]))
            told = True
        time.sleep(_LOOK_SECONDS)


@contextmanager
def lease(folder: Storage) -> Iterator[None]:
    """Have the folder alone during the block.

    A dead holder's lease is taken over: at once when its process was on this machine, after 60 s in which this one sees
    no beat of it otherwise.
    Of several that want it at the same time one gets it. A holder that finds another's token in the file has lost it
    (a machine that slept for minutes) and is interrupted.

    Raises RequestError naming a living holder, WorkError when the lease was lost on the way.
    """
    _settle(folder, lambda who: None)
    mine = new_entry()
    if other := take(folder, _FILE, mine):
        raise RequestError(_taken(folder, other))
    try:
        if other := next(iter(_living(folder.at(_SHARED))), None):
            raise RequestError(_taken(folder, other))

        def beat() -> bool:
            if (read_entry(folder, _FILE) or mine)["token"] != mine["token"]:
                return False
            folder.write_json({**mine, "beat": time.time()}, _FILE)
            return True

        with _kept(folder, beat):
            yield
    finally:
        if (read_entry(folder, _FILE) or {}).get("token") == mine["token"]:
            folder.remove(_FILE)


@contextmanager
def sharing(folder: Storage, waits: Callable[[str], None] = lambda who: None) -> Iterator["Claims"]:
    """Work in the folder during the block beside others that do the same; `Claims` says who is at what.

    `waits` hears who may have died, on another machine, where up to 60 s pass to find that out.

    Raises RequestError where a process has the folder alone, WorkError when others had to take over what this one was
    at, because it was silent for more than 60 s.
    """
    _settle(folder, waits)
    mine = new_entry()
    there = folder.at(_SHARED)
    claims = Claims(there, mine)
    there.write_json(mine, f"{mine['token']}.json")
    try:
        for name in there.names():  # of those that were killed
            if name.endswith(".json") and (dead := read_entry(there, name)) and not alive(dead):
                there.remove(name)
        if not folder.is_local:
            time.sleep(_ARRIVE_SECONDS)
        alone = read_entry(folder, _FILE)
        if alone and alive(alone):
            raise RequestError(_taken(folder, alone))
        with _kept(folder, claims.beat):
            yield claims
    except BaseException:
        with suppress(OSError):  # a storage that is away has ended the block: that is what is to be told
            claims.close()
        raise
    claims.close()


class Claims:
    """What this process is at of the work that it shares: each piece is one folder, and one process's at a time."""

    def __init__(self, folder: Storage, mine: Entry) -> None:
        """`folder` holds a file for each process and, below `claims`, one for each claim."""
        self._folder, self._claims, self._mine = folder, folder.at("claims"), mine
        self._held: dict[str, str] = {}  # names of files, by the folders that they are claims of
        self._lock = threading.Lock()
        self._beaten = time.time()
        self._looked = time.monotonic()

    def take(self, piece: Storage) -> bool:
        """Claim a piece of work; False when another living process has it. What is this one's already stays so."""
        name, entry = _name_of(piece), {**self._mine, "beat": time.time(), "what": piece.root}
        with self._lock:
            if piece.root in self._held:
                return True
        if not self._folder.is_local and not self.fellows():
            self._claims.write_json(entry, name)  # nobody else is there, and who arrives waits before it claims
        else:
            other = take(self._claims, name, entry, self._lives)
            if other and other["token"] != self._mine["token"]:  # else it is one that could not be given back
                return False
        with self._lock:
            self._held[piece.root] = name
        return True

    def release(self, piece: Storage) -> None:
        """This process is not at it any more. A storage that is away is told, unless an error is on its way already."""
        with self._lock:
            name = self._held.pop(piece.root, None)
        if name is not None:
            ended_by = sys.exc_info()[1]
            try:
                self._claims.remove(name)
            except StorageError:
                if ended_by is None:
                    raise

    def fellows(self) -> list[Entry]:
        """The other living processes that share the work, whatever they are at."""
        return [entry for entry in _living(self._folder) if entry["token"] != self._mine["token"]]

    def others(self) -> dict[str, Entry]:
        """What other living processes are at, by the pieces' folders."""
        names = [name for name in self._claims.names() if name.endswith(".json")]
        found = [entry for name in names if (entry := read_entry(self._claims, name))]
        return {e["what"]: e for e in found if e["token"] != self._mine["token"] and self._lives(e)}

    @contextmanager
    def turn(self, piece: Storage, waits: Callable[[str], None] = lambda who: None) -> Iterator[None]:
        """Have a piece of work during the block, after whoever has it now; `waits` hears once who that is."""
        told = False
        while not self.take(piece):
            if not told and (other := self.others().get(piece.root)):
                waits(who(other))
                told = True
            time.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            self.release(piece)

    def beat(self) -> bool:
        """Show that this process lives; False where it was away and others have taken over what it was at."""
        now = time.time()
        if now - self._beaten > _AWAY_SECONDS:
            with self._lock:
                held = list(self._held.values())
            tokens = [(read_entry(self._claims, name) or {}).get("token") for name in held]
            if any(token != self._mine["token"] for token in tokens):
                return False
        self._folder.write_json({**self._mine, "beat": now}, f"{self._mine['token']}.json")
        self._beaten = now  # and not when storage did not take it: others do not see it either
        if time.monotonic() - self._looked > _FELLOWS_SECONDS:  # who has died is known when it is asked for
            self.fellows()
            self._looked = time.monotonic()
        return True

    def close(self) -> None:
        """Leave nothing behind; claims of others stay."""
        for name in list(self._held.values()):
            if (read_entry(self._claims, name) or {}).get("token") == self._mine["token"]:
                self._claims.remove(name)
        self._held.clear()
        self._folder.remove(f"{self._mine['token']}.json")

    def _lives(self, claim: Entry) -> bool:
        """A claim is as alive as its process, which beats in a file of its own."""
        process = read_entry(self._folder, f"{claim['token']}.json")
        return process is not None and alive(process)


def who(entry: Entry) -> str:
    """A process as people are told of it."""
    return f"process {entry['pid']} on {entry['host']}"


def _living(there: Storage) -> list[Entry]:
    found = [read_entry(there, name) for name in there.names() if name.endswith(".json")]
    return [entry for entry in found if entry and alive(entry)]


def _name_of(piece: Storage) -> str:
    return hashlib.blake2b(piece.root.encode(), digest_size=16).hexdigest() + ".json"


@contextmanager
def _kept(folder: Storage, beat: Callable[[], bool]) -> Iterator[None]:
    """Call `beat` every few seconds during the block; when it says that all is lost, interrupt the block."""
    stop, lost = threading.Event(), threading.Event()

    def keep() -> None:
        while not stop.wait(_BEAT_SECONDS):
            with suppress(WorkError, OSError):  # a full disk stops the run itself, with its own message
                if not beat():
                    lost.set()
                    os.kill(os.getpid(), signal.SIGINT)
                    return

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if not lost.is_set():
            raise
        raise WorkError(
            f"{folder.root}: this run was silent for so long that another one has taken its place; let that one finish"
        ) from None
    finally:
        stop.set()
        thread.join()


def _taken(folder: Storage, other: Entry) -> str:
    return (
        f"{folder.root}: already being run by process {other['pid']} on {other['host']} since "
        f"{other['since']}; wait for it, or stop it and run again"
    )
