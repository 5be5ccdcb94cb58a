"""How a run ends early: on Ctrl-C, on SIGTERM and on a fault of the machine it commits what is ready and goes."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event

from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture

STOPS = (KeyboardInterrupt, TerminationSignal)
STOPPED = "Stopped. What was committed stays; run the same command again to carry on."
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def wait_for(shards: Sequence[PrefectFuture], stop: Event) -> None:
    """Wait until all shards have ended, then raise the first fault.

    A fault, or the wish to stop, stops all: tracks in flight are dropped, finished ones are committed. Whoever asks a
    second time does not want to wait.
    """
    fault = None
    waiting = list(shards)
    while waiting:
        try:
            waiting[0].wait()
            waiting.pop(0).result()
        except STOPS as error:
            if isinstance(fault, STOPS):
                raise
            fault = error
        except Exception as error:  # of one shard; the run ends with it, below
            fault = fault or error
        if fault:
            stop.set()
    if fault:
        raise fault


@contextmanager
def exit_when_stopped() -> Iterator[None]:
    """For the command line: end with a word and with the signal's exit code, after the run has ended in order."""

    def end(number: int, _: object) -> None:
        raise _Ended(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except (KeyboardInterrupt, _Ended) as ended:
        number = ended.args[0] if isinstance(ended, _Ended) else signal.SIGINT
        print(STOPPED, file=sys.stderr)
        sys.exit(EXIT_CODES[number])
    finally:
        signal.signal(signal.SIGTERM, before)


class _Ended(BaseException):
    """The signal of this number has arrived."""
