"""Steps, expectations, and what went over the wire.

A step is one line of output, and nothing is tried twice.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from contextlib import contextmanager
from typing import Any, Callable, Iterator
from urllib.parse import urlsplit

from azure.core.exceptions import HttpResponseError


class Report:
    """Prints a line for each step. The first failure ends the program, unless keep_going is set, for work on the walk."""

    def __init__(self, keep_going: bool = False) -> None:
        self.keep_going = keep_going
        self.failed: list[str] = []
        self.steps = 0

    def part(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as e:  # pylint: disable=broad-except
            for frame in traceback.extract_tb(e.__traceback__):
                if os.path.dirname(frame.filename) == os.path.dirname(__file__):  # not the library's
                    print(f"  {os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}")
            print(f"  {type(e).__name__}: {e}", flush=True)
            self.failed.append(name)
            if not self.keep_going:
                raise SystemExit(1) from None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except BaseException:
            print(f"FAILED: {name}", flush=True)
            raise
        self.steps += 1
        print(f"step: {name} ({(time.monotonic() - began) * 1000:.0f} ms)", flush=True)


class Wire:
    """Notes every answer that the SDK's pipeline gets, so that a step can prove that an operation was, or was
    not, done by the service. Pass `note` as raw_response_hook to a client."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []  # method, path, status

    def note(self, response: Any) -> None:
        request, answer = response.http_request, response.http_response
        self.seen.append((request.method, urlsplit(request.url).path, answer.status_code))
        if not re.fullmatch(r"[0-9a-f-]{36}", answer.headers.get("x-ms-request-id", "")):
            raise AssertionError(f"{request.method} {request.url}: x-ms-request-id is {answer.headers.get('x-ms-request-id')!r}")

    @contextmanager
    def remote(self, word: str) -> Iterator[None]:
        """The block must make the service do the operation whose path ends in word."""
        before = len(self.seen)
        yield
        if not any(path.endswith("/" + word) and status == 200 for _, path, status in self.seen[before:]):
            raise AssertionError(f"{word} did not reach the service: {self.seen[before:]}")

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The block must send nothing but a GET of the key."""
        before = len(self.seen)
        yield
        if sent := [s for s in self.seen[before:] if s[0] != "GET"]:
            raise AssertionError(f"was to be local, but sent {sent}")


def same(got: Any, want: Any, what: str = "value") -> None:
    if got != want:
        raise AssertionError(f"{what} is {got!r}, want {want!r}")


def true(condition: Any, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def refused(
    call: Callable[[], Any],
    status: int,
    code: str,
    words: str = "",
    *,
    inner: str | None = None,
    kind: type[HttpResponseError] = HttpResponseError,
) -> HttpResponseError:
    """The call must fail with exactly this class, status, error code (and inner code), and a message that matches words
    and ends with the activity id, which is the answer's request id."""
    try:
        got = call()
    except HttpResponseError as e:
        same(type(e), kind, f"class of {e!r}")
        same(e.status_code, status, f"status of {e.message!r}")
        error = e.error
        if error is None:
            raise AssertionError(f"no error body: {e!r}") from e
        same(error.code, code, f"code of {e.message!r}")
        same((error.innererror or {}).get("code"), inner, f"inner code of {e.message!r}")
        true(re.search(words, error.message), f"message {error.message!r} does not match {words!r}")
        request_id = e.response.headers["x-ms-request-id"]
        true(error.message.endswith(f"(Activity ID: {request_id})"), f"message {error.message!r} does not end with the activity id {request_id}")
        return e
    raise AssertionError(f"accepted: {got!r}")


def raises(kind: type[BaseException], words: str, call: Callable[[], Any]) -> None:
    """The call must fail on the client's side."""
    try:
        got = call()
    except kind as e:
        true(re.search(words, str(e)), f"message {e!s} does not match {words!r}")
        return
    raise AssertionError(f"accepted: {got!r}")
