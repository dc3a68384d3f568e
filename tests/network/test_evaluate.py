import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvverify.errors import InputError
from bvverify.network import StepNetwork, step_network
from tests.networks import batches, networks, reference, reference_values


@st.composite
def questions(draw: st.DrawFn, *, min_size: int = 0, max_size: int = 5) -> tuple[StepNetwork, np.ndarray]:
    network = draw(networks())
    return network, draw(batches(network, min_size=min_size, max_size=max_size))


@given(questions(min_size=1))
def test_evaluate_gives_what_the_slow_interpreter_gives(question) -> None:
    network, batch = question
    outputs = network.evaluate(batch)
    assert outputs.dtype == np.int64
    assert outputs.shape == (len(batch), network.outputs)
    assert outputs.tolist() == reference(network, batch)


@given(questions(min_size=1))
def test_every_value_is_the_slow_interpreters(question) -> None:
    network, batch = question
    wanted = list(range(len(network.nodes) + 1))
    values = network.evaluate_values(batch, wanted)
    for number, value in enumerate(values):
        assert value.dtype == np.int64
        assert value.shape == (len(batch), *network.values[number].shape)
    for row, point in enumerate(batch):
        assert [value[row].reshape(-1).tolist() for value in values] == reference_values(network, point)


@given(questions(min_size=1), st.data())
def test_values_come_in_the_order_they_are_asked_for(question, data: st.DataObject) -> None:
    network, batch = question
    everything = network.evaluate_values(batch, range(len(network.nodes) + 1))
    wanted = data.draw(st.lists(st.integers(0, len(network.nodes)), max_size=5))
    for number, value in zip(wanted, network.evaluate_values(batch, wanted), strict=True):
        assert (value == everything[number]).all()


@given(questions(min_size=2, max_size=23), st.integers(1, 40))
def test_chunks_do_not_show(question, elements: int) -> None:
    network, batch = question
    whole = network.evaluate(batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_network, "_CHUNK_ELEMENTS", elements)
        assert (network.evaluate(batch) == whole).all()


@given(networks())
def test_an_empty_batch_gives_no_outputs(network: StepNetwork) -> None:
    empty = np.empty((0, *network.input_shape), dtype=np.int64)
    assert network.evaluate(empty).shape == (0, network.outputs)
    values = network.evaluate_values(empty, range(len(network.nodes) + 1))
    assert [value.shape for value in values] == [(0, *value.shape) for value in network.values]


@given(questions(min_size=1), st.sampled_from([np.int16, np.int32, np.int64]))
def test_any_integer_type_that_holds_the_inputs_will_do(question, dtype: type) -> None:
    network, batch = question
    assert (network.evaluate(batch.astype(dtype)) == network.evaluate(batch)).all()


@given(networks(), st.sampled_from([np.float32, np.float64, np.bool_, object, np.complex64]))
def test_inputs_that_are_no_integers_are_refused(network: StepNetwork, dtype: type) -> None:
    with pytest.raises(InputError, match="integer"):
        network.evaluate(network.lower[None].astype(dtype))


@given(networks())
def test_inputs_of_another_shape_are_refused(network: StepNetwork) -> None:
    for batch in (network.lower, network.lower[None, None], network.lower[None, ..., None]):
        if batch.shape[1:] != network.input_shape:
            with pytest.raises(InputError, match="shape"):
                network.evaluate(batch)


@given(questions(min_size=1), st.data())
def test_an_input_outside_the_domain_is_refused(question, data: st.DataObject) -> None:
    network, batch = question
    flat = batch.copy().reshape(len(batch), -1)
    row = data.draw(st.integers(0, len(batch) - 1))
    element = data.draw(st.integers(0, flat.shape[1] - 1))
    beyond = network.upper.flat[element] + 1, network.lower.flat[element] - 1
    flat[row, element] = data.draw(st.sampled_from(beyond))
    with pytest.raises(InputError, match="domain"):
        network.evaluate(flat.reshape(batch.shape))
