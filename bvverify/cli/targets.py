"""The command `bvverify targets`."""

from bvverify.cli.options import JsonOption
from bvverify.cli.output import out, write_json
from bvverify.exit_codes import reported


def targets(*, json_path: JsonOption = None) -> None:
    """List the targets that are modelled, and which of them this machine can run."""
    with reported():
        from bvverify.errors import TargetUnavailable
        from bvverify.kernels.target import TARGETS, Target
        from bvverify.report.tables import target_table

        try:
            detected = Target.detect()
        except TargetUnavailable:
            detected = None
        out.print(target_table(detected))
        if json_path is not None:
            rows = [
                {"target": str(t), "runtime": t.runtime, "unavailable": t.unavailable(), "default": t == detected}
                for t in TARGETS
            ]
            write_json(json_path, {"targets": rows})
