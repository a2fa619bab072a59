"""The two ways in which raysweep refuses: the request was wrong, or the work could not be done."""

import errno

from raysweep.secrets import without_secrets

# What comes of a path as it was asked for, and not of what is done with it.
OF_PATHS = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR})


class RequestError(Exception):
    """The request was wrong: one sentence naming the file or key, what is wrong and what to do. Exit code 2."""


class WorkError(Exception):
    """The request was right but the program could not do it: one sentence that says why. Exit code 1."""


class StorageError(WorkError, OSError):
    """A file of the storage could not be reached: made of an errno, or None, and one sentence."""

    def __str__(self) -> str:
        return str(self.args[-1])


class DamagedFileError(WorkError, ValueError):
    """A file of ours is not what was written: made of its path."""

    def __str__(self) -> str:
        return f"{self.args[0]}: is damaged; remove the folder that it is in, and the next run makes it again"


def reason_of(error: BaseException) -> str:
    """One line that says what went wrong, for the `reason` column of a table of failures."""
    text = without_secrets(" ".join(str(error).split()))
    if isinstance(error, RequestError | WorkError):
        return text[:300]
    name = type(error).__name__
    return f"{name}: {text}"[:300] if text else name
