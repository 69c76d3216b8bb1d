"""A small study, and what became of it."""

import json

from research.ablation import Study, one_at_a_time

STUDY = Study(one_at_a_time({"optimizer.learning_rate": (0.05,), "model.dropout": (0.4,)}), seeds=2)


def statuses(store):
    return [outcome.status for outcome in store.outcomes()]


def completions(store):
    """How each attempt of each trial ended."""
    return [
        [json.loads(file.read_text()).get("over") for file in sorted((outcome.folder / "attempts").iterdir())]
        for outcome in store.outcomes()
    ]
