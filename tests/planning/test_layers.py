"""The table of layers: what they hold, what they compute, and whose it is."""

import pytest

from experiments import digits_distill
from research.data import Images, Text, Trained
from research.experiment import Experiment, replace
from research.models import MLP, TransformerLanguageModel
from research.optimization import Optimizer
from research.planning.layers import layers, table
from research.planning.lowering import step_jaxpr
from research.tasks import Classification, LanguageModeling
from research.training.update.shapes import abstract_state
from research.training.update.state import count_parameters

B = 16


def described(experiment):
    """Return the layers by path."""
    return {"/".join(layer.path): layer for layer in layers(experiment, step_jaxpr(experiment))}


@pytest.fixture(scope="module")
def mlp():
    optimizer = Optimizer("sgd", learning_rate=0.1)
    return Experiment(MLP((32,)), Classification(), Images("digits"), optimizer, steps=1, batch_size=B)


def transformer(**changes):
    model = TransformerLanguageModel(vocabulary=256, layers=3, width=32, heads=4, max_length=16)
    data = Text(tokenizer=Trained("bytes", 256), length=16)
    optimizer = Optimizer("adamw", learning_rate=1e-3)
    experiment = Experiment(model, LanguageModeling(), data, optimizer, steps=1, batch_size=B)
    return replace(experiment, {f"model.{name}": value for name, value in changes.items()})


def test_a_layer_takes_its_products_once_forward_and_twice_backward(mlp):
    found = described(mlp)
    first, last = found["dense_0"], found["logits"]
    assert first.outputs == [f"float32[{B},32]"]
    assert {name: array.shape for name, array in last.parameters.items()} == {"bias": (10,), "kernel": (32, 10)}
    assert (first.size, last.size) == (64 * 32 + 32, 32 * 10 + 10)
    product, added = 2 * B * 32 * 10, B * 10  # a bias is added, and its gradient a sum over the batch
    assert last.flops == [product + added, 2 * product + added]
    assert first.flops[1] == 2 * B * 64 * 32 + B * 32  # the images have no gradient


def test_what_is_within_a_layer_is_counted_there_and_in_it():
    experiment = transformer()
    found = described(experiment)
    assert found[""].size == count_parameters(abstract_state(experiment))
    for path, layer in found.items():
        within = [other for name, other in found.items() if name.rpartition("/")[0] == path and name]
        assert layer.size == sum(other.size for other in within) + sum(a.size for a in layer.parameters.values())
        for way in (0, 1):
            assert layer.flops[way] >= sum(other.flops[way] for other in within)
    assert found[""].flops[0] > 3 * found["decoder/layer_1"].flops[0] > 0


def test_layers_that_are_scanned_count_as_often_as_they_run():
    loop, scan = described(transformer()), described(transformer(scan=True))
    one, all_three = loop["decoder/layer_0/feed_forward/hidden"], scan["decoder/layers/feed_forward/hidden"]
    assert all_three.size == 3 * one.size
    assert all_three.flops == pytest.approx([3 * flops for flops in one.flops], rel=1e-2)


def test_what_a_teacher_computes_is_not_the_models():
    distilled = replace(digits_distill.experiment, digits_distill.smoke)
    alone = replace(distilled, {"references": (), "task": Classification()})
    assert len(described(distilled)) > 5
    for path, layer in described(distilled).items():
        assert layer.flops == described(alone)[path].flops, path


def test_the_table_is_aligned_and_names_what_a_layer_holds(mlp):
    head, model, *rest = table(layers(mlp, step_jaxpr(mlp)))
    ends = [head.index(name) + len(name) for name in ("parameters", "forward", "backward")]
    assert model.startswith("model ") and "MLP" in model
    for line in (model, *(line for line in rest if not line.startswith(" "))):
        assert all(line[end - 1].isdecimal() and line[end : end + 1] in ("", " ") for end in ends), line
    assert "    kernel float32[32,10]" in rest
