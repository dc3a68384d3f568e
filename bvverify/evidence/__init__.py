"""Evidence: verdicts, witnesses and their replay on real kernels."""

from bvverify.evidence.replay import Replayer, kernel_session
from bvverify.evidence.subject import Posed, Subject
from bvverify.evidence.verdict import Verdict, Witness

__all__ = ["Posed", "Replayer", "Subject", "Verdict", "Witness", "kernel_session"]
