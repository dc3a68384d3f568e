"""Bytes and predictions of two sides, against what torch itself computes."""

import numpy as np
import pytest
import torch

from bvverify.compare import compare_subjects
from bvverify.errors import InputError, UsageError
from bvverify.evidence import Replayer, Subject
from bvverify.kernels.target import Target
from bvverify.load import load_model, load_model_for
from bvverify.load.inputs import Images, read_images
from tests.compare.planted import COUNT, DATA, HERE, compared, dense, inputs, layer_bytes


def test_nothing_differs_from_itself() -> None:
    model, images = load_model(DATA / "digits.pt"), read_images(DATA / "digits.npz")
    with Subject(model, target=HERE) as first, Subject(model, target=HERE) as second:
        found = compare_subjects(first, second, images)
    assert not found.differs
    assert not len(found.ranked)
    assert [(layer.name, layer.compared, layer.images, layer.bytes) for layer in found.layers] == [
        ("quant", 200 * 64, 0, 0),
        ("fc1", 200 * 32, 0, 0),
        ("fc2", 200 * 10, 0, 0),
    ]
    assert (found.skipped, found.incomparable, found.layers[0].example) == ((), None, None)


def test_a_changed_weight_is_found_where_torch_finds_it() -> None:
    modules, images = (dense(), dense(changed=20)), inputs(labels=True)
    found = compared(*modules, images)
    bytes_ = [layer_bytes(module, images.real) for module in modules]
    first, second = (one[-1] for one in bytes_)
    distances = np.abs(first - second).max(axis=1)
    assert 0 < np.count_nonzero(distances) < COUNT
    assert np.array_equal(found.first.outputs, first)
    assert np.array_equal(found.second.outputs, second)
    assert np.array_equal(found.distances, distances)
    assert found.bytes_that_differ == np.count_nonzero(first != second)
    other = first.argmax(axis=1) != second.argmax(axis=1)
    assert 0 < other.sum() < np.count_nonzero(distances)
    assert np.array_equal(found.predictions_differ, other)
    assert images.labels is not None
    assert found.first.correct(images.labels) == COUNT
    assert found.second.correct(images.labels) == COUNT - other.sum()
    assert found.differs


@pytest.mark.usefixtures("no_kernels")
def test_layers_say_how_much_differs() -> None:
    modules, images = (dense(), dense(bias=0.3)), inputs()
    found = compared(*modules, images)
    pairs = zip(*(layer_bytes(module, images.real) for module in modules), strict=True)
    distances = [np.abs(first - second) for first, second in pairs]
    assert [layer.images for layer in found.layers] == [int(one.any(axis=1).sum()) for one in distances]
    assert [layer.bytes for layer in found.layers] == [np.count_nonzero(one) for one in distances]
    assert [layer.largest for layer in found.layers] == [int(one.max()) for one in distances]
    assert found.layers[0].images == 0 < found.layers[1].images < COUNT
    assert [layer.example for layer in found.layers] == [
        int(one.max(axis=1).argmax()) if one.any() else None for one in distances
    ]


@pytest.mark.usefixtures("no_kernels")
def test_other_predictions_come_first_then_the_largest_differences() -> None:
    found = compared(dense(), dense(changed=20), inputs())
    ranked = found.ranked
    assert sorted(ranked.tolist()) == np.flatnonzero(found.distances).tolist()
    keys = [(not found.predictions_differ[row], -int(found.distances[row])) for row in ranked]
    assert keys == sorted(keys)
    assert len(set(keys)) > 3


@pytest.mark.usefixtures("no_kernels")
def test_positions_choose_images_and_keep_their_order() -> None:
    images, positions = inputs(labels=True), [77, 3, 50]
    whole, part = (compared(dense(), dense(changed=20), images, positions=chosen) for chosen in (None, positions))
    assert part.positions.tolist() == positions
    assert np.array_equal(part.second.outputs, whole.second.outputs[positions])
    assert images.labels is not None
    assert part.labels is not None
    assert np.array_equal(part.labels, images.labels[positions])
    worst = int(whole.ranked[0])
    single = compared(dense(), dense(changed=20), images, positions=[worst])
    assert single.layers[-1].example == worst


@pytest.mark.usefixtures("no_kernels")
def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compared(dense(), dense(changed=20, bias=0.3), inputs())
    monkeypatch.setattr("bvverify.compare.subjects._MOST_AT_ONCE", 7)
    steps: list[int] = []
    parts = compared(dense(), dense(changed=20, bias=0.3), inputs(), progress=steps.append)
    assert parts.layers == whole.layers
    assert np.array_equal(parts.distances, whole.distances)
    assert (sum(steps), max(steps)) == (2 * COUNT, 7)


@pytest.mark.usefixtures("no_kernels")
def test_large_layers_make_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bvverify.compare.subjects._VALUES_AT_ONCE", 3 * (6 + 5 + 3))
    steps: list[int] = []
    compared(dense(), dense(), inputs(count=8), progress=steps.append)
    assert steps == [3, 3, 3, 3, 2, 2]


@pytest.mark.usefixtures("no_kernels")
def test_a_layer_with_another_scale_is_not_compared_but_the_outputs_are() -> None:
    found = compared(dense(), dense(hidden_scale=0.05), inputs())
    (skipped,) = found.skipped
    assert (skipped.name, skipped.reason) == (
        "1",
        "quantization: scale 0.04, zero point 0; and scale 0.05, zero point 0",
    )
    assert [layer.name for layer in found.layers] == ["0", "2"]
    assert found.incomparable is None
    assert found.distances.any()


@pytest.mark.usefixtures("no_kernels")
def test_outputs_that_mean_other_numbers_leave_predictions() -> None:
    found = compared(dense(), dense(zero_point=121), inputs())
    assert found.incomparable is not None
    assert "zero point 120" in found.incomparable
    assert "zero point 121" in found.incomparable
    assert not found.distances.any()
    assert (found.bytes_that_differ, found.differs, len(found.ranked)) == (0, False, 0)
    other = compared(dense(), dense(zero_point=121, changed=20), inputs())
    assert other.differs
    assert other.ranked.tolist() == np.flatnonzero(other.predictions_differ).tolist() != []


@pytest.mark.usefixtures("no_kernels")
def test_models_of_other_shapes_each_take_the_images_in_their_own() -> None:
    images = read_images(DATA / "digits.npz").shaped((8, 8))
    models = [load_model_for(DATA / name, images)[0] for name in ("digits.pt", "digits_conv.pt")]
    with Subject(models[0], target=HERE) as first, Subject(models[1], target=HERE) as second:
        found = compare_subjects(first, second, images)
    for side, shape in ((found.first, (64,)), (found.second, (1, 8, 8))):
        module = torch.jit.load(str(DATA / side.model))
        with torch.inference_mode():
            logits = module(torch.from_numpy(images.real.reshape(-1, *shape))).numpy()
        assert side.input_shape == shape
        assert np.array_equal(side.classes, logits.argmax(axis=1))
    assert {layer.reason for layer in found.skipped} == {
        "sizes: (64,) and (1, 8, 8)",
        "only the first side has it",
        "only the second side has it",
    }


def test_every_image_is_confirmed_on_both_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, Target]] = []
    original = Replayer.confirm

    def confirm(self: Replayer, real: np.ndarray) -> object:
        seen.append((len(real), self._lowered.target))
        return original(self, real)

    monkeypatch.setattr(Replayer, "confirm", confirm)
    targets = (HERE, Target.parse("qnnpack"))
    found = compared(dense(), dense(), inputs(), targets=targets)
    assert seen == [(COUNT, target) for target in targets]
    assert (found.first.unconfirmed, found.second.unconfirmed) == (None, None)


@pytest.mark.usefixtures("no_kernels")
def test_a_side_that_cannot_run_here_says_so() -> None:
    found = compared(dense(), dense(changed=20), inputs())
    assert found.second.unconfirmed == f"no {HERE}"
    assert found.differs


@pytest.mark.usefixtures("no_kernels")
def test_models_must_have_as_many_outputs() -> None:
    with pytest.raises(UsageError, match=r"first\.pt has 3 outputs and second\.pt has 4"):
        compared(dense(), dense(outputs=4), inputs())


@pytest.mark.usefixtures("no_kernels")
def test_images_must_fit() -> None:
    with pytest.raises(InputError, match=r"few\.npz"):
        compared(dense(), dense(), Images("few.npz", np.zeros((2, 5), dtype=np.float32), None))
