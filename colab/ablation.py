# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   language_info:
#     name: python
# ---

# %% [markdown]
# # Change one thing, and say whether it mattered
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ceteris-research/ceteris/blob/main/colab/ablation.ipynb)
#
# A study varies an experiment in named places and runs every variant with the same seeds. You will declare one, see
# what it would run, run many trials at once, over all devices where there are several, and read its report here.
#
# All cells took 60 s together on two cores of a shared x86-64 virtual machine, with other work beside them; nothing is
# downloaded but what is missing. The next cell installs that and keeps the runtime's own JAX.

# %%
import glob
import importlib.util
import os
import subprocess
import sys

REPOSITORY = "https://github.com/ceteris-research/ceteris"

# A clone or a copy of the project, or its wheel, may lie beside this notebook, or be installed; else it is fetched.
copies = [found for place in ("..", ".", "*") for found in glob.glob(f"{place}/research/runtime.py")]
wheels = glob.glob("ceteris_research-*.whl")
if not copies and not wheels and importlib.util.find_spec("research") is None:
    clone = ["git", "clone", "--quiet", "--depth", "1", REPOSITORY, "ceteris"]
    if subprocess.run(clone, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}).returncode:
        raise RuntimeError(
            f"{REPOSITORY} cannot be cloned: set REPOSITORY above to where it can be, or put the project's folder or "
            "its wheel beside this notebook, and run this cell again"
        )
    copies = ["ceteris/research/runtime.py"]
if copies:
    sys.path.insert(0, os.path.abspath(f"{copies[0]}/../.."))
elif wheels:
    subprocess.run([sys.executable, "-m", "pip", "install", "-qq", "--no-deps", wheels[-1]], check=True)
    importlib.invalidate_caches()
from research.runtime import prepare

prepare()

# %% [markdown]
# ## Declare
#
# The baseline reads handwritten digits with one hidden layer. Each variant changes one thing of it: the dropout rate,
# the activation, the learning rate, or whether training images are shifted by a pixel.

# %%
from experiments.digits_cnn import experiment
from research.ablation import Study, one_at_a_time
from research.experiment import replace
from research.models import MLP

baseline = replace(experiment, {"model": MLP(hidden=(128,), dropout=0.2)})
study = Study(
    one_at_a_time(
        {
            "model.dropout": (0.0, 0.5),
            "model.activation": ("tanh",),
            "optimizer.learning_rate": (5e-4, 8e-3),
            "data.shift": (0,),
        }
    ),
    seeds=8,
    description="What of a small multilayer perceptron and its training matters for reading digits?",
)

# %% [markdown]
# What it would run, before anything does. Variants that differ in numbers alone share a program, which is compiled
# once.

# %%
from research.ablation import describe_plan

folder = "runs/digits_mlp/ablation"
print(describe_plan(baseline, study, folder))

# %% [markdown]
# ## Run
#
# Trials of one program run together. On several devices each takes its share of them along a mesh axis named `trial`,
# without any communication (`shard`); one device computes them in one vectorised program (`vmap`).

# %%
import jax

from research.ablation import ablate
from research.devices.placement import trial_mesh

execution = "shard" if jax.device_count() > 1 else "vmap"
print(execution, dict(trial_mesh().shape))
store = ablate(baseline, study, folder, execution=execution)

# %% [markdown]
# A run folder for each trial, and nothing is kept but there. Run the cell again, after an interruption or with more
# seeds or variants, and it does what is missing and nothing else.
#
# ## Read
#
# Seed `i` means the same initial parameters and the same order of examples in every variant, so differences are taken
# seed by seed. A verdict is given only where p, corrected for the number of variants (Holm), is below 0.05.

# %%
from IPython.display import display

from research.ablation.report import report_on

report = report_on(store, title="digits_mlp")
display(report)

# %% [markdown]
# The page of the same report, with every seed and the learning curves; it is `report.html` in the folder of the study.

# %%
from html import escape

from IPython.display import HTML

page = next(path for path in report.paths if path.suffix == ".html")
frame = f'<iframe srcdoc="{escape(page.read_text())}" width="100%" height="900" style="border: 0"></iframe>'
display(HTML(f"<div>{frame}</div>"))

# %% [markdown]
# ## Read for yourself
#
# Everything in the report comes from the trials' own numbers.

# %%
import matplotlib.pyplot as plt

by_variant: dict[str, dict[int, float]] = {}
for outcome in store.outcomes():
    if outcome.status == "done":
        by_variant.setdefault(outcome.name, {})[outcome.seed] = outcome.metrics["test"]["accuracy"]
same_seed = by_variant.pop("baseline")

figure, axes = plt.subplots(figsize=(8, 0.45 * len(by_variant) + 1.2), layout="constrained")
for row, by_seed in enumerate(by_variant.values()):
    differences = [accuracy - same_seed[seed] for seed, accuracy in by_seed.items() if seed in same_seed]
    axes.scatter(differences, [row] * len(differences), s=24, alpha=0.6, color="tab:blue")
    axes.scatter(sum(differences) / len(differences), row, marker="|", s=300, color="black")
axes.axvline(0, color="black", linewidth=0.8)
axes.set_yticks(range(len(by_variant)), list(by_variant))
axes.invert_yaxis()
axes.set(title="Every seed (dot) and the mean (stroke)", xlabel="test accuracy minus the baseline's of the same seed")
axes.spines[["top", "right", "left"]].set_visible(False)
axes.tick_params(axis="y", length=0)
axes.grid(axis="x", alpha=0.25)
plt.show()
