import logging
import threading
import warnings

from tasks.worklog import MOST_LINES, LogLine, collect_log


def test_a_warning_of_a_library_is_kept():
    with collect_log() as lines:
        logging.getLogger("some.library").warning("odd header in %s", "x.mp3")
        logging.getLogger("some.library").info("nothing of note")
    assert lines == [LogLine(logging.WARNING, "odd header in x.mp3")]


def test_what_python_warns_of_is_kept():
    logging.captureWarnings(False)  # pytest listens too: let the last to come be ours
    with collect_log() as lines:
        warnings.simplefilter("always")
        warnings.warn("divided by zero", RuntimeWarning, stacklevel=1)
    assert ["divided by zero" in line.message for line in lines] == [True]


def test_another_track_in_another_thread_is_not_heard():
    with collect_log() as lines:
        other = threading.Thread(target=lambda: logging.getLogger("x").error("of another track"))
        other.start()
        other.join()
    assert lines == []


def test_a_flood_is_cut():
    with collect_log() as lines:
        for _ in range(100):
            logging.getLogger("x").error("again")
    assert len(lines) == MOST_LINES


def test_nothing_is_heard_afterwards():
    with collect_log() as lines:
        pass
    logging.getLogger("x").error("late")
    assert lines == []
