"""A study becomes cells with names, and cells become trials; mistakes are found before anything runs."""

import dataclasses
import math

import flax.linen as nn
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.ablation import (
    Study,
    add_one_in,
    chain,
    check,
    final_seeds,
    fixed,
    goal,
    grid,
    leave_one_out,
    nuisance_plan,
    one_at_a_time,
    parse_axes,
    parse_axis,
    plan,
    random,
    seeds,
    trials,
    tuning_seeds,
    uniform,
    winners,
    zipped,
)
from research.errors import UnknownPathError, UsageError, WrongTypeError, WrongValueError
from research.experiment import difference, replace
from research.models import CNN, MLP


def names(experiment, *axes, **fields):
    return [cell.name for cell in plan(experiment, Study(chain(*axes), **fields))]


def test_plan_by_hand(experiment):
    study = Study(
        chain(
            one_at_a_time({"model.dropout": (0, 0.2, 0.5), "model.channels": ((7, 11), (2,))}),
            leave_one_out({"warm-up": {"optimizer.warmup": 0}, "optimizer.ema": 0.0}),
            zipped({"steps": (5,), "model.activation": ("tanh",)}),
        ),
        fixed={"optimizer.learning_rate": 0.01},
    )
    cells = plan(experiment, study)
    assert [cell.index for cell in cells] == list(range(8))
    assert [cell.name for cell in cells] == [
        "baseline",
        "dropout 0.0",
        "dropout 0.5",
        "channels (7, 11)",
        "channels (2)",
        "no warm-up",
        "ema 0.0",
        "activation tanh, steps 5",
    ]
    assert cells[0].aliases == ("dropout 0.2",)
    assert cells[0].experiment == replace(experiment, {"optimizer.learning_rate": 0.01})
    for cell in cells:
        assert cell.experiment == replace(experiment, {"optimizer.learning_rate": 0.01, **cell.overrides})
        assert set(difference(cells[0].experiment, cell.experiment)) == set(cell.overrides)


def test_duplicates_become_aliases_of_the_first(experiment):
    components = {"model.dropout": 0.0, "ema": {"optimizer.ema": 0.0}}
    cells = plan(experiment, Study(chain(leave_one_out(components), add_one_in(components))))
    assert [(cell.name, cell.aliases) for cell in cells] == [
        ("baseline", ("+ ema",)),
        ("dropout 0.0", ()),
        ("no ema", ("+ dropout",)),
        ("all off", ()),
    ]


def test_a_cell_may_override_what_is_fixed(experiment):
    cells = plan(experiment, Study(one_at_a_time({"steps": (3, 4)}), fixed={"steps": 4}))
    assert [(cell.name, cell.experiment.steps, cell.aliases) for cell in cells] == [
        ("baseline", 4, ("steps 4",)),
        ("steps 3", 3, ()),
    ]


def test_paths_are_as_long_as_it_takes_to_tell_them_apart(experiment):
    axis = one_at_a_time({"model.dtype": ("bfloat16",), "data.noise": (0.5,), "steps": (5,)})
    assert names(experiment, axis)[1:] == ["dtype bfloat16", "noise 0.5", "steps 5"]
    pair = dataclasses.replace(experiment, model=Pair(CNN(), CNN()))
    axis = one_at_a_time({"model.first.dropout": (0.5,), "model.second.dropout": (0.5,), "model.second.kernel": (5,)})
    assert names(pair, axis)[1:] == ["first.dropout 0.5", "second.dropout 0.5", "kernel 5"]
    assert names(experiment, one_at_a_time({"model.channels.1": (9,)}))[1:] == ["channels (3, 9)"]


class Pair(nn.Module):
    """Two models that have fields of the same names."""

    first: CNN
    second: CNN


def test_names_stay_apart_where_four_digits_do_not(experiment):
    axis = one_at_a_time({"optimizer.learning_rate": (0.00123401, 0.00123402, 0.00567801)})
    assert names(experiment, axis)[1:] == [
        "learning_rate 0.00123401",
        "learning_rate 0.00123402",
        "learning_rate 0.005678",
    ]
    models = one_at_a_time({"model": (MLP(), MLP(dropout=0.5))})
    assert [name[:11] for name in names(experiment, models)] == [
        "baseline",
        "model MLP (",
        "model MLP (",
    ]
    labelled = chain(leave_one_out({"it": {"steps": 5}}), leave_one_out({"it": {"steps": 6}}))
    assert names(experiment, labelled) == ["baseline", "no it", "no it (2)"]


@given(st.integers(0, 99))
def test_names_of_random_cells_are_unique(experiment, seed):
    axis = random({"model.dropout": uniform(0.1, 0.1001), "optimizer.ema": uniform(0.5, 0.5001)}, 20, seed)
    found = names(experiment, axis, axis)
    assert len(set(found)) == len(found) == 21


@pytest.mark.parametrize(
    ("study", "kind", "message"),
    [
        (
            Study(one_at_a_time({"steps": (5,), "model.droput": (0.5,)})),
            UnknownPathError,
            'cell 2 (droput 0.5): there is no "model.droput"; did you mean "model.dropout"',
        ),
        (Study(one_at_a_time({"steps": ("x",)})), WrongTypeError, "cell 1 (steps x): steps must be int"),
        (
            Study(one_at_a_time({"model.dropout": (1.5,)})),
            WrongValueError,
            "cell 1 (dropout 1.5): model.dropout must be",
        ),
        (
            Study(one_at_a_time({"optimizer.algorithm": ("adam",)})),
            WrongValueError,
            "cell 1 (algorithm adam): optimizer",
        ),
        (Study(fixed({"model.channels.1": 0})), WrongValueError, "cell 1 (channels.1 0): model.channels.1 must be"),
        (Study(fixed={"stepz": 5}), UnknownPathError, 'fixed: there is no "stepz"'),
        (Study(seeds(3)), UsageError, "cell 1 (seed 0): every cell runs with the same seeds"),
        (Study(fixed={"seed": 3}), UsageError, "fixed: every cell runs with the same seeds"),
        (Study(metric="f1"), UsageError, 'there is no metric "f1"; valid names are accuracy'),
        (Study(metric="macro_f1"), UsageError, 'say whether more "macro_f1" is better'),
    ],
)
def test_a_mistake_in_a_cell_is_named(experiment, study, kind, message):
    with pytest.raises(kind) as error:
        plan(experiment, study)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "fields",
    [
        {"seeds": 0},
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"margin": 0.0},
        {"split": "tset"},
        {"tuning_seeds": 0},
        {"cells": ["steps"]},
    ],
)
def test_a_mistake_in_a_study_is_an_error_where_it_is_declared(fields):
    with pytest.raises(UsageError):
        Study(**fields)


def test_check_names_the_cell_that_cannot_be_built(experiment):
    axis = one_at_a_time({"model.dropout": (0.0, 0.1), "model.classes": (11,)})
    cells = plan(experiment, Study(axis))
    check(cells[:3])
    with pytest.raises(UsageError, match=r"^classes 11: the model gives 11 logits, but the dataset has 10 classes"):
        check(cells)


def test_an_unforeseen_fault_says_in_which_cell(experiment, monkeypatch):
    monkeypatch.setattr("research.training.check", lambda experiment: 1 // (experiment.model.kernel - 5))
    with pytest.raises(ZeroDivisionError) as error:
        check(plan(experiment, Study(one_at_a_time({"model.kernel": (7, 5)}))))
    assert error.value.__notes__ == ["while checking the cell kernel 5"]


def test_check_traces_each_program_once(experiment, monkeypatch):
    checked = []
    monkeypatch.setattr("research.training.check", checked.append)
    axis = chain(one_at_a_time({"optimizer.learning_rate": (0.1, 0.2), "model.kernel": (5,)}))
    check(plan(experiment, Study(axis)))
    assert [item.model.kernel for item in checked] == [3, 5]


def test_goal(experiment):
    assert goal(experiment, Study()) == ("accuracy", True)
    assert goal(experiment, Study(metric="accuracy")) == ("accuracy", True)
    assert goal(experiment, Study(metric="loss")) == ("loss", False)
    assert goal(experiment, Study(metric="f1", maximize=True)) == ("f1", True)
    assert goal(experiment, Study(maximize=False)) == ("accuracy", False)


def test_seed_i_is_the_same_in_every_cell(experiment):
    experiment = replace(experiment, {"seed": 5})
    study = Study(one_at_a_time({"model.dropout": (0.0, 0.1)}), seeds=3)
    cells = plan(experiment, study)
    runs = trials(cells, final_seeds(experiment, study))
    assert [(run.cell.index, run.seed) for run in runs] == [(cell, seed) for seed in (5, 6, 7) for cell in (0, 1, 2)]
    for run in runs:
        assert run.experiment == replace(cells[run.cell.index].experiment, {"seed": run.seed})


# Nuisance settings


TUNED = Study(
    one_at_a_time({"model.dropout": (0.0, 0.1)}),
    nuisance=grid({"optimizer.learning_rate": (0.1, 0.2, 0.1)}),
    seeds=3,
    tuning_seeds=2,
)


def test_every_cell_is_tuned_over_the_same_settings_on_seeds_of_their_own(experiment):
    tunings = nuisance_plan(experiment, TUNED)
    assert [tuning.cell for tuning in tunings] == list(plan(experiment, TUNED))
    variants = [variant for tuning in tunings for variant in tuning.variants]
    assert [variant.index for variant in variants] == list(range(6))
    assert [variant.name for variant in variants[2:4]] == [
        "dropout 0.0 with learning_rate 0.1",
        "dropout 0.0 with learning_rate 0.2",
    ]
    for variant, (dropout, rate) in zip(variants, [(d, r) for d in (0.2, 0.0, 0.1) for r in (0.1, 0.2)], strict=True):
        assert variant.experiment == replace(experiment, {"model.dropout": dropout, "optimizer.learning_rate": rate})
    many = dataclasses.replace(TUNED, seeds=100_000)
    assert len(tuning_seeds(experiment, TUNED)) == 2
    assert not set(tuning_seeds(experiment, TUNED)) & set(final_seeds(experiment, many))
    assert nuisance_plan(experiment, Study()) == ()


@pytest.mark.parametrize(("maximize", "rates"), [(True, (0.2, 0.1, 0.1)), (False, (0.1, 0.1, 0.1))])
def test_the_best_mean_wins_never_nan_and_ties_go_to_the_first(experiment, maximize, rates):
    tunings = nuisance_plan(experiment, TUNED)
    nan = math.nan
    scores = {0: [0.5, 0.5], 1: [0.9, 0.2], 2: [0.1, 0.2], 3: [0.2, 0.1], 4: [0.5, 0.5], 5: [nan, 0.9]}
    cells = winners(tunings, scores, maximize)
    assert [cell.experiment.optimizer.learning_rate for cell in cells] == list(rates)
    assert [cell.tuned for cell in cells] == [f"learning_rate {rate}" for rate in rates]
    for cell, before in zip(cells, plan(experiment, TUNED), strict=True):
        assert (cell.index, cell.name, cell.experiment.model) == (before.index, before.name, before.experiment.model)
        assert cell.experiment == replace(experiment, cell.overrides)


def test_a_setting_that_failed_does_not_win_by_its_better_half(experiment):
    tunings = nuisance_plan(experiment, TUNED)
    scores = {0: [0.5, 0.5], 1: [3.0], 2: [math.inf, 1], 3: [0.1, 0.1], 4: [math.nan] * 2}
    assert [cell.experiment.optimizer.learning_rate for cell in winners(tunings, scores, True)] == [0.1, 0.2, 0.1]
    assert [cell.experiment.optimizer.learning_rate for cell in winners(tunings, {}, True)] == [0.1, 0.1, 0.1]


def test_a_cell_cannot_set_what_is_tuned(experiment):
    study = dataclasses.replace(TUNED, nuisance=grid({"model.dropout": (0.3,)}))
    with pytest.raises(UsageError, match=r'^dropout 0.0 with dropout 0.3: "model.dropout" is set twice'):
        nuisance_plan(experiment, study)


# Axes from text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("model.dropout=0,0.1,3e-1", [0.0, 0.1, 0.3]),
        ("model.channels=(8,16),(4,),[2, 3], ()", [(8, 16), (4,), (2, 3), ()]),
        ("model.activation=tanh, 'relu',\"gelu\"", ["tanh", "relu", "gelu"]),
        ("model.channels.1=5,7", [5, 7]),
        ("task.class_weights=None,null,(1,2.5)", [None, None, (1.0, 2.5)]),
        ("optimizer.warmup=3", [3]),
    ],
)
def test_text_takes_the_type_of_its_field(experiment, text, values):
    axis = parse_axis(experiment, text)
    path = text.partition("=")[0]
    assert repr([cell[path] for cell in axis]) == repr(values)
    assert all(set(cell) == {path} for cell in axis)


def test_text_that_looks_like_a_number_is_a_string_where_only_that_fits():
    assert parse_axis(Words("x"), "word=1,true,'a,b'") == ({"word": "1"}, {"word": "true"}, {"word": "a,b"})
    assert parse_axis(Words("x"), "flag=true,False") == ({"flag": True}, {"flag": False})


@dataclasses.dataclass(frozen=True)
class Words:
    """Fields that literals and strings compete for."""

    word: str
    flag: bool = False


def test_several_texts_are_one_at_a_time_or_crossed(experiment):
    texts = ["optimizer.algorithm=adam,sgd", "optimizer.weight_decay=0,0.5"]
    alone = one_at_a_time({"optimizer.algorithm": ("adam", "sgd"), "optimizer.weight_decay": (0.0, 0.5)})
    assert parse_axes(experiment, texts) == alone
    crossed = grid({"optimizer.algorithm": ("adam", "sgd"), "optimizer.weight_decay": (0.0, 0.5)})
    assert parse_axes(experiment, texts, grid=True) == crossed


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("model.dropout", UsageError, 'an axis is path=value,value,..., not "model.dropout"'),
        ("model.droput=1", UnknownPathError, 'axis model.droput=1: there is no "model.droput"; did you mean'),
        ("model.dropout.x=1", UnknownPathError, 'axis model.dropout.x=1: there is no "model.dropout.x"'),
        ("model.dropout=0,x", WrongTypeError, "model.dropout must be float in [0, 1), not 'x' (str)"),
        ("model.dropout=(0,1)", WrongTypeError, "model.dropout must be float in [0, 1), not (0, 1) (tuple)"),
        ("model.dropout=0,2", WrongValueError, "axis model.dropout=0,2: model.dropout must be in [0, 1), not 2.0"),
        ("model.channels=8,16", WrongTypeError, "model.channels must be tuple of int at least 1, not 8 (int)"),
        ("model.channels=(8,x)", WrongTypeError, "model.channels must be tuple of int at least 1, not '(8,x)' (str)"),
        ("model.activation=tahn", WrongTypeError, 'did you mean "tanh"'),
        ("model=CNN", WrongTypeError, "model must be Module, not 'CNN' (str)"),
        ("model.dropout=0,,1", UsageError, "axis model.dropout=0,,1: a value is missing"),
        ("model.dropout=", UsageError, "a value is missing"),
        ("seed={[]:1}", WrongTypeError, "seed must be int"),
    ],
)
def test_a_mistake_in_text_names_axis_value_and_type(experiment, text, kind, message):
    with pytest.raises(kind) as error:
        parse_axis(experiment, text)
    assert message in str(error.value)
