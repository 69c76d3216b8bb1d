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
# # Train, look, predict
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ceteris-research/ceteris/blob/main/colab/quickstart.ipynb)
#
# A small convolutional network learns to read handwritten digits. You will see the experiment as a value, train it,
# look at what it gets wrong, write its predictions to a file, and change one thing. Any runtime will do, a CPU too.
#
# All cells took 47 s together on two cores of a shared x86-64 virtual machine, with other work beside them; nothing is
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
# ## An experiment is a value
#
# It is the one that `python -m experiments.digits_cnn` trains. Everything that decides its numbers is in it.

# %%
from experiments.digits_cnn import experiment
from research.planning.description import fields

print("\n".join(fields(experiment)))

# %% [markdown]
# ## Train
#
# A run has a folder, named after the experiment, with its configuration, metrics, pictures and checkpoints. Interrupt
# the cell and run it again: it resumes where it stopped. Once the run is finished the cell returns its result at once.

# %%
from research.cli.runs import default_workdir
from research.training import train

folder = default_workdir(experiment, "digits_cnn")
result = train(experiment, folder)

# %%
from IPython.display import Image, display

display(result)
display(Image(folder / "curves.png", width=760))

# %% [markdown]
# What the network is shown in training is moved by up to a pixel, anew at every step.

# %%
display(Image(folder / "augmentation.png", width=560))

# %% [markdown]
# ## Look
#
# `restore` needs the folder and nothing else. `predict` returns a row for every example, in the order of the dataset.

# %%
from research.training import predict, restore

restored, state = restore(folder)
predictions = predict(restored, state, "test")
print({name: column.shape for name, column in predictions.items()})

# %% [markdown]
# The test images of which the network is least sure:

# %%
import matplotlib.pyplot as plt
import numpy as np

records = restored.data.open("test")
sureness = predictions["probability"].max(axis=1)
figure, panels = plt.subplots(2, 6, figsize=(9, 3.6), layout="constrained")
for panel, index in zip(panels.flat, np.argsort(sureness), strict=False):
    label, prediction = predictions["label"][index], predictions["prediction"][index]
    panel.imshow(records[[index]]["image"][0, :, :, 0], cmap="Greys")
    panel.set_title(
        f"{label} read as {prediction}, {sureness[index]:.0%}",
        fontsize=9,
        color="black" if label == prediction else "tab:red",
    )
    panel.set_axis_off()
figure.suptitle("Least sure of all test images; what is wrong is red", fontsize=11)
plt.show()

# %% [markdown]
# ## Predict
#
# The same numbers as CSV, JSON lines or NPZ, by the ending of the file.

# %%
from research.training import write_predictions

file = folder / "predictions.csv"
write_predictions(file, predictions)
for line in file.read_text().splitlines()[:3]:
    print(f"{line[:100]} ...")

# %% [markdown]
# ## Change one thing
#
# `replace` takes dotted paths and is strict: a typo is refused, and what was meant is named.

# %%
from research.errors import UsageError
from research.experiment import difference, replace

try:
    replace(experiment, {"model.dropuot": 0.0})
except UsageError as error:
    print(error)
changed = replace(experiment, {"model.dropout": 0.0})
print(difference(experiment, changed))

# %%
from research.experiment import RunOptions

other = train(changed, default_workdir(changed, "digits_cnn"), RunOptions(progress="none", pictures=False))
for name, run in {"as it is": result, "without dropout": other}.items():
    print(f"{name:>15}  test accuracy {run.metrics['test']['accuracy']:.4f}")

# %% [markdown]
# One run of each says little: another seed may turn it round. Whether dropout matters is a question for several seeds
# and a paired test, which is what [ablation.ipynb](ablation.ipynb) is about.
