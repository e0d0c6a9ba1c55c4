"""`python -m pi_emulator.count_file MODEL CONTRACT`: count one window of a model file.

Runs in the emulated Python, with what a device has: numpy, an interpreter and firmware_host.
Prints as JSON what is no instruction count: engine, logits, resident memory.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from firmware_host.contract import Contract
from firmware_host.engines import InterpreterEngine, OnnxRuntimeEngine, load_engine
from firmware_host.golden import golden_features
from pi_emulator.guest_rss import guest_rss
from pi_emulator.regions import count_region

SEED = 1  # of the golden window
INTERPRETER, ENGINE = 1, 2  # labels of the regions: the interpreter's call alone, `Engine.infer`


def main() -> None:
    """Load the model, mark both regions, print the rest."""
    model, contract_file = map(Path, sys.argv[1:])
    contract = Contract.from_json(contract_file.read_text())
    engine = load_engine(model, contract=contract)
    frames = golden_features(SEED, contract.features, contract.window_frames)
    window = contract.normalise(frames)
    logits = engine.infer(window)
    resident = guest_rss()
    # What lies between the engine and its interpreter is what is to be told apart.
    call: Callable[[], object]
    if isinstance(engine, InterpreterEngine):
        call = engine._interpreter.invoke
    elif isinstance(engine, OnnxRuntimeEngine):
        session, feeds = engine._session, {engine._input: window[None]}
        call = lambda: session.run(None, feeds)  # noqa: E731
    else:
        raise TypeError(
            f"{type(engine).__name__} has no call of its interpreter that is known here"
        )
    count_region(call, INTERPRETER)
    count_region(lambda: engine.infer(window), ENGINE)
    found = {"engine": engine.name, "logits": logits.tolist(), "resident_bytes": resident}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
