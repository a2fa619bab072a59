"""A job of a Ray cluster, from its submission to the exit code of its command."""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.secrets import without_secrets
from raysweep.study.pack import Package

_SILENT_SECONDS = 60.0  # a dashboard that does not answer for so long is given up; the job is not
_ANSWER_SECONDS = 30.0  # for one that is asked for the first time
_NEEDS = "jobs need what the dashboard needs: pip install 'ray[default]'"
_TOKEN = "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on its head"
_ADDRESS = "RAY_API_SERVER_ADDRESS"  # goes before what a client is told
# of packages and connections, which are Ray's own affair; two have a level of their own
_TALKERS = ("ray.dashboard", "ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk")
_STUDY, _SENT = "raysweep_study", "raysweep_sent"  # of a job's metadata


class Job:
    """A study that a cluster runs. It goes on whether or not somebody follows it."""

    def __init__(self, client: Any, number: str, url: str) -> None:
        self.id = number
        self._client, self._url = client, url
        self._shown = 0  # characters of the log, in whole lines

    @classmethod
    def begin(cls, url: str, name: str, where: str, package: Package, folder: str, say: Callable[[str], None]) -> "Job":
        """Submit a study, or find the job that is at it already.

        Args:
            url: of the dashboard.
            name: of the study.
            where: the folder or address of all that the study makes.
            package: what is run; `folder` holds what is sent.
            say: told which of the two it is.

        Raises RequestError where a job is at the study as it was before a change, WorkError when no dashboard answers.
        """
        shown = without_secrets(url)
        with _answers(url):
            try:
                from ray.job_submission import JobSubmissionClient

                for module in _TALKERS:
                    logging.getLogger(module).setLevel(logging.WARNING)
                _look(url)
                with _own_address(url):
                    client = JobSubmissionClient(url)
            except ImportError as error:
                raise WorkError(_NEEDS) from error
        while True:
            with _answers(url):
                jobs = client.list_jobs()
            for job in jobs:
                told = job.metadata or {}
                if job.status.is_terminal() or told.get(_STUDY) != where:
                    continue
                number = str(job.submission_id)
                if told.get(_SENT) != package.digest:
                    raise RequestError(
                        f"job {number} is at this study, which has changed since; wait for it, or end it with "
                        f"`ray job stop {number} --address {shown}`"
                    )
                say(f"job {number} is at this study already; this is its log")
                return cls(client, number, shown)
            taken = {job.submission_id for job in jobs}
            number = next(id for n in itertools.count(1) if (id := f"{name}-{n}") not in taken)
            with _answers(url, "it did not take the job"):
                try:
                    client.submit_job(
                        entrypoint=package.command,
                        submission_id=number,
                        runtime_env={"working_dir": folder},
                        metadata={_STUDY: where, _SENT: package.digest},
                    )
                except RuntimeError as error:
                    if f"{number} already exists" in str(error):
                        continue  # somebody else was as quick; of the same study there is to be one job
                    raise
            say(f"job {number}")
            return cls(client, number, shown)

    def follow(self, say: Callable[[str], None]) -> int:
        """Show its log until it ends; returns the exit code of its command, 1 where it ended without one.

        A connection that is lost is made again, and no line is shown twice. Raises WorkError when the dashboard does
        not answer for a minute; the job goes on.
        """
        since = None
        while True:
            try:
                asyncio.run(self._tail(say))
                info = self._client.get_job_info(self.id)
                if info.status.is_terminal():
                    return self._code(info, say)
                since = None
            except Exception as error:  # of aiohttp's and requests' many kinds
                since = since or time.monotonic()
                if "status code 404" in str(error):
                    raise WorkError(f"{self._url}: its cluster does not know job {self.id} any more: its head was "
                                    "started anew; the same command goes on with the study") from error  # fmt: skip
                if time.monotonic() - since > _SILENT_SECONDS:
                    raise WorkError(
                        f"{self._url} does not answer any more ({reason_of(error)[:150]}); job {self.id} goes on if "
                        "its cluster does, and the same command follows it again"
                    ) from error
            time.sleep(1)

    async def _tail(self, say: Callable[[str], None]) -> None:
        seen, rest = 0, ""
        async for text in self._client.tail_job_logs(self.id):
            new = text[max(0, self._shown - seen) :]  # the log comes from its beginning each time
            seen += len(text)
            *lines, rest = (rest + new).split("\n")
            for line in lines:
                self._shown += len(line) + 1
                say(line)
        if rest:
            self._shown += len(rest)
            say(rest)

    def _code(self, info: Any, say: Callable[[str], None]) -> int:
        status, code = info.status.value.lower(), info.driver_exit_code
        if code is None or code < 0:
            code = {"succeeded": 0, "stopped": 143}.get(status, 1)
        if status != "succeeded" and code not in (2, 3):
            again = "; run the same command again to go on" if status == "stopped" else ""  # its log may end before
            say(f"job {self.id}: {status} ({' '.join((info.message or 'nothing more is known').split())[:300]}){again}")
        return int(code)


def _look(url: str) -> None:
    """Raise OSError where a connection is taken and nothing said: Ray's client would wait for ever.

    What else may be wrong with it the client says.
    """
    import requests

    try:
        requests.get(f"{url.rstrip('/')}/api/version", timeout=_ANSWER_SECONDS)
    except requests.Timeout:
        raise
    except (requests.RequestException, ValueError):
        return


@contextmanager
def _own_address(url: str) -> Iterator[None]:
    """Ray's client takes the cluster that the environment names, RAY_ADDRESS too, for the one that it is told."""
    before = os.environ.get(_ADDRESS)
    os.environ[_ADDRESS] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ADDRESS]
        else:
            os.environ[_ADDRESS] = before


@contextmanager
def _answers(url: str, problem: str = "no Ray dashboard that takes jobs answers") -> Iterator[None]:
    """Say in one sentence what a dashboard that does not do as it is asked lacks."""
    from ray.exceptions import AuthenticationError

    shown = without_secrets(url)
    try:
        yield
    except AuthenticationError as error:
        raise WorkError(f"{shown}: {_TOKEN}") from error
    except (ConnectionError, RuntimeError, OSError) as error:
        if "ray[default]" in str(error):
            raise WorkError(_NEEDS) from error
        raise WorkError(
            f"{shown}: {problem} ({reason_of(error)[:150]}); name the cluster's file with --cluster, or leave "
            "`ray dashboard` running"
        ) from error
