"""The process that runs all checks on one mutant: reads the mutant from its input, writes what killed it.

Nothing of bvverify may be imported before the mutant is planted, and torch never.
"""

import json
import pickle
import sys
import time
from pathlib import Path

from harness.mutants.planting import plant


def main() -> None:
    """Run the checks on the records in the file named by the first argument."""
    order = json.load(sys.stdin)
    if order["module"]:
        plant(order["module"], order["source"])
    started = time.perf_counter()
    try:
        from harness.mutants.checks import all_checks

        records = pickle.loads(Path(sys.argv[1]).read_bytes())
    except Exception as error:  # a mutant may break the very import
        json.dump({"broken": f"{type(error).__name__}: {error}"}, sys.stdout)
        return
    killer = reason = ""
    made = 0
    for name, check in all_checks(records, networks_first=order["networks_first"]):
        made += 1
        try:
            reason = check()
        except Exception as error:  # whatever a mutant raises, the check has noticed it
            reason = f"{type(error).__name__}: {error}"
        if reason:
            killer = name
            break
    if "torch" in sys.modules:
        raise RuntimeError("torch was imported")
    answer = {"killer": killer, "reason": reason, "checks": made, "seconds": time.perf_counter() - started}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
