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
# # Look inside a trained network
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ceteris-research/ceteris/blob/main/colab/probe.ipynb)
#
# A run folder holds all that is needed to have the experiment and the trained state again. You will restore two runs
# and look at the state as a tree, the first filters of a convolutional network and what they make of a digit, and what
# each head of a Transformer attends to while it reads dates in twelve languages and writes them as ISO 8601.
#
# All cells took 181 s together on two cores of a shared x86-64 virtual machine, with other work beside them; nothing is
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

prepare("dates")

# %% [markdown]
# ## Restore a run
#
# `train` returns at once where the folder holds the finished run, so this trains only the first time.

# %%
from experiments.digits_cnn import experiment
from research.cli.runs import default_workdir
from research.training import restore, train

folder = default_workdir(experiment, "digits_cnn")
train(experiment, folder)
digits, state = restore(folder)  # needs nothing but the folder
print(digits.model)

# %% [markdown]
# The state is a tree of arrays and nothing else: step, parameters, other variables of the model, and the optimizer's
# state. Click to unfold it.

# %%
import treescope

with treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()):
    treescope.display(state)

# %% [markdown]
# ## First filters
#
# The kernels of the first convolution, one for each of its channels: red counts for, blue against.

# %%
import matplotlib.pyplot as plt
import numpy as np

kernel = np.asarray(state.params["block_0"]["Conv_0"]["kernel"])  # [h, w, 1, channels]
h, w, _, channels = kernel.shape
limit = np.abs(kernel).max()
columns = min(channels, 16)
rows = -(-channels // columns)
figure, panels = plt.subplots(rows, columns, figsize=(9, 0.75 * rows + 0.5), squeeze=False, layout="constrained")
for channel, panel in enumerate(panels.flat):
    panel.imshow(kernel[:, :, 0, channel], cmap="RdBu_r", vmin=-limit, vmax=limit)
    panel.set_title(str(channel), fontsize=8, pad=2)
    panel.set(xticks=[], yticks=[])
figure.suptitle(f"{channels} kernels of {h} x {w} pixels", fontsize=11)
plt.show()

# %% [markdown]
# ## What they make of a digit
#
# Models sow what is worth looking at. Asking for the collection `intermediates` gives it.

# %%
batch = digits.data.preprocess(digits.data.open("test")[[0]])
logits, sown = digits.model.apply(
    {"params": state.evaluated, **state.variables}, digits.task.inputs(digits.model, batch), mutable=["intermediates"]
)
intermediates = {name: np.asarray(value[0]) for name, value in sown["intermediates"].items()}
print({name: value.shape for name, value in intermediates.items()})
print(f"label {int(batch['label'][0])}, read as {int(logits.argmax())}")

# %%
maps = intermediates["block_0_output"][0]  # [h, w, channels]
strongest = np.argsort(-maps.mean(axis=(0, 1)))[:6]
figure, panels = plt.subplots(1, 1 + len(strongest), figsize=(9, 1.9), layout="constrained")
panels[0].imshow(batch["image"][0, :, :, 0], cmap="Greys")
panels[0].set_title("image", fontsize=9)
for panel, channel in zip(panels[1:], strongest, strict=False):
    panel.imshow(maps[:, :, channel], cmap="Greys", vmin=0, vmax=maps.max())
    panel.set_title(f"channel {channel}", fontsize=9)
for panel in panels:
    panel.set(xticks=[], yticks=[])
figure.suptitle("The most active channels of the first block, after pooling", fontsize=11)
plt.show()

# %% [markdown]
# ## Attention
#
# The Transformer of `experiments/dates_transformer.py`.

# %%
from experiments import dates_transformer

folder = default_workdir(dates_transformer.experiment, "dates_transformer")
train(dates_transformer.experiment, folder)
dates, state = restore(folder)

# %% [markdown]
# The decoder is given the right date up to a place and predicts the next character. Each panel is one head of its last
# block: a row is a character that is written, a column one that is read, and dark is where the head looks.

# %%
EXAMPLE = 0
batch = dates.data.preprocess(dates.data.open("test")[[EXAMPLE]])
inputs = dates.task.inputs(dates.model, batch)
_, sown = dates.model.apply({"params": state.evaluated, **state.variables}, inputs, mutable=["intermediates"])
blocks = sown["intermediates"]["decoder"]
weights = np.asarray(blocks[list(blocks)[-1]]["cross_attention"]["weights"][0][0])  # [heads, written, read]

# %%
read = np.asarray(batch["tokens"][0, : int(batch["lengths"][0])])
written = np.asarray(batch["labels"][0, : int(batch["label_lengths"][0])])
characters = dates.data.readable({"source": read[:, None], "prediction": written[:, None]})
rows = [character or "end" for character in characters["prediction"]]
columns = [character if character.strip() else "␣" for character in characters["source"]]

figure, panels = plt.subplots(
    len(weights) // 2,
    2,
    figsize=(0.42 * len(columns) + 1.5, 0.11 * len(rows) * len(weights) + 1.8),
    layout="constrained",
)
for head, (panel, looked) in enumerate(zip(panels.flat, weights, strict=True)):
    panel.imshow(looked[: len(rows), : len(columns)], cmap="Greys", vmin=0, vmax=1)
    panel.set_title(f"head {head}", fontsize=10)
    panel.set_xticks(range(len(columns)), columns, fontsize=9, parse_math=False)
    panel.set_yticks(range(len(rows)), rows, fontsize=9, parse_math=False)
    panel.tick_params(length=0)
figure.supxlabel("read", fontsize=10)
figure.supylabel("written", fontsize=10)
plt.show()
