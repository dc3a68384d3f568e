"""Known divergences: where a kernel does not compute what its operation means, and lowering therefore refuses it.

Each row points at a case of the corpus and says what the operation's definition gives. As long as the kernel gives
something else, or nothing, the row stays; when it stops differing, a strict expected failure of the tests says so.
"""

from dataclasses import dataclass
from pathlib import Path

from bvverify.kernels.target import Engine, Isa, Target
from bvverify.network import IntArray
from harness.case_file import CaseFile, read_case
from harness.corpus import FOLDER

CHANNELS_LAST = "kernels that confuse orders in memory"
OUT_OF_BOUNDS = "kernels that read or write beyond their memory"
WINDOWS = "windows that are not where the definition puts them"
OVERFLOW = "numbers that leave the kernel's integers"
BLOCKS = "sums that are cut where a pair is parted"


@dataclass(frozen=True)
class Divergence:
    """One row: `definition` names a target of the same case whose bytes are those of the operation's definition."""

    cause: str
    case: str
    target: Target
    definition: Target

    @property
    def path(self) -> Path:
        """The case file."""
        return FOLDER / self.case / "case.json"

    def load(self) -> tuple[CaseFile, IntArray]:
        """Return the case, and the bytes that the definition gives, int64 (n, ...)."""
        case = read_case(self.path)
        for expectation in case.expected:
            if self.definition in expectation.targets and expectation.bytes is not None:
                return case, expectation.bytes
        raise KeyError(f"{self.path}: holds no bytes for {self.definition}")


_FBGEMM, _ONEDNN, _X86 = (Target(engine, Isa.AVX512_VNNI) for engine in (Engine.FBGEMM, Engine.ONEDNN, Engine.X86))
_QNNPACK = Target(Engine.QNNPACK, Isa.SSE2)

DIVERGENCES = (
    Divergence(CHANNELS_LAST, "qnnpack-hardtanh-permutes", _QNNPACK, _FBGEMM),
    Divergence(OUT_OF_BOUNDS, "onednn-grouped-convolution-garbage", _ONEDNN, _FBGEMM),
    Divergence(OUT_OF_BOUNDS, "onednn-grouped-convolution-garbage", _X86, _FBGEMM),
    Divergence(OUT_OF_BOUNDS, "onednn-window-in-the-padding", _ONEDNN, _FBGEMM),
    Divergence(WINDOWS, "qnnpack-dilated-max-pool", _QNNPACK, _FBGEMM),
    Divergence(OVERFLOW, "requantization-overflow-becomes-0", _FBGEMM, _ONEDNN),
    Divergence(OVERFLOW, "requantization-overflow-becomes-0", _QNNPACK, _ONEDNN),
    Divergence(OVERFLOW, "qnnpack-bias-beyond-int32", _QNNPACK, _FBGEMM),
    Divergence(OVERFLOW, "qnnpack-add-scale-ratios", _QNNPACK, _FBGEMM),
    Divergence(BLOCKS, "onednn-avx2-cuts-long-sums", Target(Engine.ONEDNN, Isa.AVX2), Target(Engine.FBGEMM, Isa.AVX2)),
)
"""All that fail in the same way whenever they run.

Not among them, because chance decides what they do: FBGEMM's 3x3 groupwise convolution of a number of groups that its
blocks do not divide (`fbgemm-groupwise-corrupts-memory`), and oneDNN's convolution of one channel to one column
(`onednn-one-channel-to-one-column`), which read or write beyond their memory.
"""
