"""One unit in a process of its own: `python -m edge_ser.evaluation.worker`, for `spread` alone.

Reads the unit and the place as a line of JSON. Ends with 0 when the outcome is there, with 2
and {"error": sentence} on standard output when a person can mend what is wrong. When the
other end of its standard input goes away, so does it: a training that nobody waits for would
stand in the way of the next start.
"""

import json
import os
import sys
import threading

from edge_ser.evaluation.run import run_unit
from edge_ser.evaluation.spread import place_from_dict
from edge_ser.evaluation.units import Unit
from edge_ser.program import EXIT_USER_CAN_MEND
from firmware_host.errors import EdgeSerError


def main() -> None:
    """Compute the unit that standard input names."""
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_unit(Unit.from_dict(task["unit"]), place_from_dict(task["place"]))
    except EdgeSerError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        os._exit(EXIT_USER_CAN_MEND)
    # Not through the interpreter's end, which would wait for the thread that holds stdin.
    os._exit(0)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
