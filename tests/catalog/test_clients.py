"""The shell: what ends a query leaves the prompt."""

import pytest

from catalog.clients import Shell


class Stopped:
    """A connection whose query is ended by Ctrl-C."""

    def __init__(self, error: type[BaseException]):
        self.error = error

    def sql(self, statement: str):
        raise self.error("Query interrupted")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_ctrl_c_ends_a_query_and_the_shell_goes_on(capsys, error):
    assert Shell(Stopped(error)).push("SELECT 1;") is False
    assert capsys.readouterr().err == "Interrupted.\n"
