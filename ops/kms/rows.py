"""The register of cases, and what several of them ask."""

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from book import Book, Timed

# In which a caller must have its 503 while a breaker is open: the design says 10 ms, which a release build on a quiet machine is held to
# (`just kms-open`). Otherwise far below an attempt's 400 ms, and generous for a loaded machine and a debug build.
OPEN_SECONDS = float(os.environ.get("SEALGATE_OPEN_MS", "300")) / 1000

# The design's: what a call to the KMS takes in all, however it fails.
CALL_SECONDS = 1.5


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table, or one promise beside it."""

    name: str
    about: str
    run: Callable
    seconds: int
    # Part of the short run, which CI does.
    ci: bool


CASES: list[Case] = []


def row(function=None, *, seconds=120, ci=(), **variants):
    """Registers a case, which gets a `Scene`; with `variants`, one for each keyword, whose value follows the scene.

    `ci`: whether CI runs it, or which of its variants.
    """

    def register(function):
        about = (function.__doc__ or "").strip().splitlines()[0]
        name = function.__name__.replace("_", "-")
        if not variants:
            CASES.append(Case(name, about, function, seconds, bool(ci)))
        for variant, value in variants.items():
            values = value if isinstance(value, tuple) else (value,)
            run = lambda scene, values=values: function(scene, *values)  # noqa: E731
            CASES.append(Case(f"{name}-{variant.replace('_', '-')}", about, run, seconds, variant in ci))
        return function

    return register(function) if function else register


def served(answer: Timed, status=200, what=""):
    """Fails unless it was served."""
    assert answer.status == status, f"{what or 'it'} was answered {answer}, not {status}"
    return answer


def unavailable(answer: Timed, what=""):
    """Fails unless it is a 503 that says when to come again."""
    assert answer.status == 503 and answer.retry_after, f"{what or 'it'} was answered {answer} (Retry-After {answer.retry_after}), not 503"
    return answer


def denied(answer: Timed, what=""):
    """Fails unless it is a 403."""
    assert answer.status == 403, f"{what or 'it'} was answered {answer}, not 403"
    return answer


def milliseconds(answers: list[Timed]) -> dict[str, float]:
    """Median, 99th percentile and longest of the times."""
    times = sorted(answer.seconds * 1000 for answer in answers)
    at = lambda part: round(times[min(len(times) - 1, int(len(times) * part))], 1)  # noqa: E731
    return {"p50": at(0.5), "p99": at(0.99), "max": at(1)}


def at_once(scene, answers: list[Timed]):
    """Fails unless all came as fast as refusals of an open breaker have to."""
    scene.figure("while open, ms", milliseconds(answers))
    slow = [answer for answer in answers if answer.seconds > OPEN_SECONDS]
    assert not slow, f"{len(slow)} of {len(answers)} took longer than {OPEN_SECONDS} s while the breaker was open: {slow[0]}"


def until_open(scene, book: Book, key="object-0", seconds=20) -> list[Timed]:
    """Reads an object whose key is in no cache until the breaker has refused to ask for it; all answers."""
    answers, end, refused = [], time.monotonic() + seconds, scene.not_asked()
    while scene.not_asked() == refused:
        answers.append(unavailable(book.get(key), f"GET {book.bucket}/{key}"))
        assert time.monotonic() < end, f"no breaker opened within {seconds} s: {answers[-1]}"
    return answers


def together(number: int, work: Callable[[int], object]) -> list:
    """Runs `work` that many times at once."""
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(work, range(number)))


class Load:
    """Clients that read and write over `books` until they are stopped; their answers are in the books."""

    def __init__(self, books: list[Book], clients: int = 4, writes=True):
        self.over, self.answers, self.lock = threading.Event(), [], threading.Lock()
        self.pool = ThreadPoolExecutor(clients)
        self.running = [self.pool.submit(self._work, books, number, writes) for number in range(clients)]

    def _work(self, books, number, writes):
        turn = 0
        while not self.over.is_set():
            book = books[(number + turn) % len(books)]
            turn += 1
            answer = book.put(f"load-{number}") if writes and turn % 2 else book.get("object-0")
            with self.lock:
                self.answers.append((time.monotonic(), answer))

    def stop(self) -> list[tuple[float, Timed]]:
        """Lets each end its last request; all answers with their times."""
        self.over.set()
        for running in self.running:
            running.result(60)
        self.pool.shutdown()
        return self.answers
