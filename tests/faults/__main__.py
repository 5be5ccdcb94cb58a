"""`make soak`: kills, histories, full disks and mutated files for as long as asked; prints what was survived.

python -m tests.faults [SEEDS] [HISTORIES] [MUTANTS]
"""

import os
import subprocess
import sys

DEFAULTS = (3, 100, 20_000)  # an hour and a half on two cores

if __name__ == "__main__":
    given = tuple(map(int, sys.argv[1:]))
    seeds, histories, mutants = given + DEFAULTS[len(given) :]
    environment = {**os.environ, "MIDIME_SOAK_SEEDS": str(seeds), "MIDIME_SOAK_HISTORIES": str(histories)}
    pytest = [sys.executable, "-m", "pytest", "-q", "--timeout", "0", "tests/faults"]
    failed = subprocess.run(pytest, env=environment).returncode
    failed |= subprocess.run([sys.executable, "-m", "tests.faults.fuzz", str(mutants)]).returncode
    sys.exit(bool(failed))
