"""Target: engine, instruction set and runtime.  A verdict without a target means nothing."""

import os
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from bvverify.errors import TargetUnavailable, UsageError

RUNTIME = "torch 2.13.0"
"""The runtime whose kernels are modelled."""


class Engine(StrEnum):
    """PyTorch's quantized engines on x86-64 (`torch.backends.quantized.engine`)."""

    FBGEMM = "fbgemm"
    X86 = "x86"
    ONEDNN = "onednn"
    QNNPACK = "qnnpack"


class Isa(StrEnum):
    """Instruction sets between which the kernels' results differ."""

    AVX512_VNNI = "avx512_vnni"
    AVX512 = "avx512"
    AVX2 = "avx2"
    SSE2 = "sse2"


_CPU_FLAGS = {
    Isa.AVX512_VNNI: {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
    Isa.AVX512: {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    Isa.AVX2: {"avx2", "fma"},
    Isa.SSE2: {"sse2"},
}
_ORDER = (Isa.AVX512_VNNI, Isa.AVX512, Isa.AVX2)
_FORCED = {
    "FBGEMM_ENABLE_INSTRUCTIONS": {
        "AVX512_E1": Isa.AVX512_VNNI,
        "AVX512_E1_256": Isa.AVX512_VNNI,
        "AVX512": Isa.AVX512,
        "AVX512_256": Isa.AVX512,
        "AVX2": Isa.AVX2,
    },
    "ONEDNN_MAX_CPU_ISA": {
        "AVX512_CORE_VNNI": Isa.AVX512_VNNI,
        "AVX512_CORE_BF16": Isa.AVX512_VNNI,
        "AVX512_CORE": Isa.AVX512,
        "AVX2_VNNI": Isa.AVX2,
        "AVX2": Isa.AVX2,
        "SSE41": Isa.AVX2,
    },
}
"""Values of the variables that hold a library back, and the arithmetic that they lead to."""
_FBGEMM_NAMES = {Isa.AVX512_VNNI: "AVX512_E1", Isa.AVX512: "AVX512", Isa.AVX2: "AVX2"}
_ONEDNN_NAMES = {Isa.AVX512_VNNI: "AVX512_CORE_VNNI", Isa.AVX512: "AVX512_CORE", Isa.AVX2: "AVX2"}


@dataclass(frozen=True)
class Target:
    """What computes the bytes.  The text form is `engine/isa`, for example `fbgemm/avx512_vnni`."""

    engine: Engine
    isa: Isa
    runtime: str = RUNTIME

    def __post_init__(self) -> None:
        if (self.engine is Engine.QNNPACK) != (self.isa is Isa.SSE2):
            raise UsageError(
                f"target {self.engine}/{self.isa}: qnnpack runs its sse2 kernels everywhere, and no other engine does"
            )

    def __str__(self) -> str:
        return f"{self.engine}/{self.isa}"

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Return the target named `engine/isa`, `engine` (on the instruction set that this machine would use) or
        `auto`.
        """
        if text == "auto":
            return cls.detect()
        engine_name, _, isa_name = text.partition("/")
        if engine_name not in set(Engine) or (isa_name and isa_name not in set(Isa)):
            known = ", ".join(str(target) for target in TARGETS)
            raise UsageError(f"unknown target '{text}'; known: {known}, an engine alone, or auto")
        engine = Engine(engine_name)
        return cls(engine, Isa(isa_name)) if isa_name else cls.detect(engine)

    @classmethod
    def detect(cls, engine: Engine = Engine.X86) -> "Target":
        """Return what this machine would run for `engine`; x86 is PyTorch's own default.

        Reads the CPU's flags, and the environment variables by which FBGEMM and oneDNN can be held back.
        """
        if engine is Engine.QNNPACK:
            return cls(engine, Isa.SSE2)
        variable = "ONEDNN_MAX_CPU_ISA" if engine is Engine.ONEDNN else "FBGEMM_ENABLE_INSTRUCTIONS"
        forced = os.environ.get(variable, "").upper()
        if forced and forced not in _FORCED[variable]:
            raise UsageError(
                f"{variable}={forced} is set, and what it leads to is not modelled; name a target as engine/isa"
            )
        for isa in _ORDER:
            allowed = not forced or _ORDER.index(isa) >= _ORDER.index(_FORCED[variable][forced])
            if allowed and _CPU_FLAGS[isa] <= cpu_flags():
                return cls(engine, isa)
        raise TargetUnavailable(
            "this machine has no AVX2, and slower quantized kernels are not modelled; name a target as engine/isa"
        )

    def unavailable(self) -> str | None:
        """Return why this machine cannot run the target's kernels, or None if it can."""
        missing = sorted(_CPU_FLAGS[self.isa] - cpu_flags())
        return f"this CPU lacks {', '.join(missing)}" if missing else None

    def environment(self) -> dict[str, str]:
        """Return the variables that force the target's instruction set; they must be set before torch is imported."""
        if self.engine is Engine.QNNPACK:
            return {}
        return {
            "FBGEMM_ENABLE_INSTRUCTIONS": _FBGEMM_NAMES[self.isa],
            "ONEDNN_MAX_CPU_ISA": _ONEDNN_NAMES[self.isa],
            "ATEN_CPU_CAPABILITY": "avx2" if self.isa is Isa.AVX2 else "avx512",
        }


def cpu_isa() -> Isa | None:
    """Return the best instruction set that this CPU has, whatever the environment says; None without AVX2."""
    return next((isa for isa in _ORDER if _CPU_FLAGS[isa] <= cpu_flags()), None)


@cache
def cpu_flags() -> frozenset[str]:
    """Return the CPU's feature flags as Linux names them; empty where /proc/cpuinfo cannot be read."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


TARGETS = (
    *(Target(engine, isa) for engine in (Engine.FBGEMM, Engine.X86, Engine.ONEDNN) for isa in _ORDER),
    Target(Engine.QNNPACK, Isa.SSE2),
)
"""Every target that is modelled."""
