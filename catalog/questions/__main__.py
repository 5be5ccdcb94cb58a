"""`make questions`: the answers of a lake as the page README.md."""

import sys

from catalog.connection import connect
from catalog.questions import write_answers

if __name__ == "__main__":
    with connect(sys.argv[1]) as lake:
        print(write_answers(lake), end="")
