"""Evidence: verdicts, witnesses and their replay on real kernels."""

from bvverify.evidence.replay import Replayer, kernel_session
from bvverify.evidence.verdict import Verdict, Witness

__all__ = ["Replayer", "Verdict", "Witness", "kernel_session"]
