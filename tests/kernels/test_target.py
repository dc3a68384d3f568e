import os
import subprocess
import sys

import numpy as np
import pytest

from bvverify.errors import TargetUnavailable, UsageError
from bvverify.kernels import target
from bvverify.kernels.availability import unavailable
from bvverify.kernels.target import TARGETS, Engine, Isa, Target

from .layers import conv, linear, model, weight

AVX2 = frozenset({"sse2", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
VNNI = AVX512 | {"avx512_vnni"}


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch):
    """Return a function that pretends a CPU with the given flags, and no variable that holds a library back."""

    def pretend(flags: frozenset[str]) -> None:
        monkeypatch.setattr(target, "cpu_flags", lambda: flags)
        for variable in ("FBGEMM_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"):
            monkeypatch.delenv(variable, raising=False)

    return pretend


@pytest.mark.parametrize("each", TARGETS, ids=str)
def test_the_text_of_a_target_names_it(each: Target) -> None:
    assert Target.parse(str(each)) == each


def test_there_are_ten_targets() -> None:
    assert len(set(TARGETS)) == 10


@pytest.mark.parametrize("text", ["", "fbgemm/neon", "FBGEMM", "cuda", "fbgemm/avx2/x", "auto/avx2", "/avx2"])
def test_unknown_targets_are_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError, match=f"unknown target '{text}'; known: fbgemm/avx512_vnni, .*or auto"):
        Target.parse(text)


@pytest.mark.parametrize("text", ["qnnpack/avx2", "fbgemm/sse2"])
def test_qnnpack_and_sse2_belong_together(text: str) -> None:
    with pytest.raises(UsageError, match="qnnpack runs its sse2 kernels everywhere"):
        Target.parse(text)


@pytest.mark.parametrize(("flags", "isa"), [(VNNI, Isa.AVX512_VNNI), (AVX512, Isa.AVX512), (AVX2, Isa.AVX2)])
@pytest.mark.parametrize("engine", [Engine.FBGEMM, Engine.X86, Engine.ONEDNN])
def test_an_engine_alone_means_the_best_instruction_set_of_the_cpu(on_cpu, flags, isa: Isa, engine: Engine) -> None:
    on_cpu(flags)
    assert Target.parse(engine.value) == Target(engine, isa)


def test_auto_is_pytorch_s_default_engine(on_cpu) -> None:
    on_cpu(AVX512)
    assert Target.parse("auto") == Target(Engine.X86, Isa.AVX512)


def test_vnni_for_narrow_vectors_alone_does_not_count(on_cpu) -> None:
    on_cpu(AVX2 | {"avx_vnni"})
    assert Target.detect().isa is Isa.AVX2
    on_cpu(AVX2 | {"avx512f", "avx512_vnni"})
    assert Target.detect().isa is Isa.AVX2


def test_a_cpu_without_avx2_has_qnnpack_only(on_cpu) -> None:
    on_cpu(frozenset({"sse2"}))
    assert Target.detect(Engine.QNNPACK) == Target(Engine.QNNPACK, Isa.SSE2)
    with pytest.raises(TargetUnavailable, match="no AVX2"):
        Target.detect()


@pytest.mark.parametrize(
    ("variable", "value", "engine", "isa"),
    [
        ("FBGEMM_ENABLE_INSTRUCTIONS", "AVX2", Engine.FBGEMM, Isa.AVX2),
        ("FBGEMM_ENABLE_INSTRUCTIONS", "avx512", Engine.X86, Isa.AVX512),
        ("FBGEMM_ENABLE_INSTRUCTIONS", "AVX512_E1_256", Engine.X86, Isa.AVX512_VNNI),
        ("FBGEMM_ENABLE_INSTRUCTIONS", "AVX2", Engine.ONEDNN, Isa.AVX512_VNNI),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", Engine.ONEDNN, Isa.AVX512),
        ("ONEDNN_MAX_CPU_ISA", "SSE41", Engine.ONEDNN, Isa.AVX2),
        ("ONEDNN_MAX_CPU_ISA", "AVX2", Engine.FBGEMM, Isa.AVX512_VNNI),
    ],
)
def test_variables_that_hold_a_library_back_are_heeded(
    on_cpu, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, engine: Engine, isa: Isa
) -> None:
    on_cpu(VNNI)
    monkeypatch.setenv(variable, value)
    assert Target.detect(engine) == Target(engine, isa)


def test_a_variable_cannot_lift_a_cpu(on_cpu, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu(AVX2)
    monkeypatch.setenv("FBGEMM_ENABLE_INSTRUCTIONS", "AVX512_E1")
    assert Target.detect(Engine.FBGEMM).isa is Isa.AVX2


def test_an_unknown_value_of_a_variable_is_refused(on_cpu, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu(VNNI)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX10_1")
    with pytest.raises(UsageError, match=r"ONEDNN_MAX_CPU_ISA=AVX10_1 is set.*name a target"):
        Target.detect(Engine.ONEDNN)
    assert Target.detect(Engine.FBGEMM).isa is Isa.AVX512_VNNI


def test_missing_flags_are_named(on_cpu) -> None:
    on_cpu(AVX512 - {"avx512bw"})
    assert Target.parse("fbgemm/avx512_vnni").unavailable() == "this CPU lacks avx512_vnni, avx512bw"
    assert Target.parse("onednn/avx2").unavailable() is None


@pytest.mark.parametrize("each", TARGETS, ids=str)
def test_a_target_is_what_its_environment_leads_to(on_cpu, monkeypatch: pytest.MonkeyPatch, each: Target) -> None:
    on_cpu(VNNI)
    for variable, value in each.environment().items():
        monkeypatch.setenv(variable, value)
    assert Target.detect(each.engine) == each


def test_the_environment_reaches_pytorch() -> None:
    each = Target.parse("x86/avx2")
    if each.unavailable() is not None:
        pytest.skip(each.unavailable() or "")
    command = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    environment = {**os.environ, **each.environment()}
    result = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.stdout.strip() == "AVX2"


def test_x86_convolutions_for_other_cpus_cannot_be_run_on_a_cpu_with_vnni(on_cpu) -> None:
    plain = model((1, 2, 2), conv(np.ones((1, 1, 2, 2))))
    asymmetric = model((1, 2, 2), conv(weight(np.ones((1, 1, 2, 2)), zero_point=1)))
    dense = model((2,), linear([1, 1]))
    on_cpu(VNNI)
    for text in ("x86/avx2", "x86/avx512"):
        assert "engine x86 runs layer conv with oneDNN" in (unavailable(plain, Target.parse(text)) or "")
        assert unavailable(asymmetric, Target.parse(text)) is None
        assert unavailable(dense, Target.parse(text)) is None
    assert unavailable(plain, Target.parse("x86/avx512_vnni")) is None
    assert unavailable(plain, Target.parse("fbgemm/avx2")) is None
    on_cpu(AVX512)
    assert unavailable(plain, Target.parse("x86/avx2")) is None
    assert unavailable(plain, Target.parse("x86/avx512_vnni")) == "this CPU lacks avx512_vnni"


def test_groupwise_convolutions_of_fbgemm_for_other_cpus_cannot_be_run(on_cpu) -> None:
    values = np.ones((16, 2, 3, 3))
    groupwise = model((16, 3, 3), conv(values, padding=(1, 1), groups=8))
    plain = model((16, 3, 3), conv(values, groups=8))
    on_cpu(VNNI)
    for text in ("fbgemm/avx2", "fbgemm/avx512"):
        reason = unavailable(groupwise, Target.parse(text))
        assert reason == "on this CPU, FBGEMM runs layer conv with the groupwise kernel of avx512_vnni"
        assert unavailable(plain, Target.parse(text)) is None
    for text in ("fbgemm/avx512_vnni", "onednn/avx2", "qnnpack/sse2"):
        assert unavailable(groupwise, Target.parse(text)) is None
    on_cpu(AVX512)
    for text in ("fbgemm/avx2", "x86/avx2"):
        assert "the groupwise kernel of avx512" in (unavailable(groupwise, Target.parse(text)) or "")
    on_cpu(AVX2)
    for text in ("fbgemm/avx2", "x86/avx2"):
        assert unavailable(groupwise, Target.parse(text)) is None
