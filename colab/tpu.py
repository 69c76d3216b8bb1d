# ---
# jupyter:
#   accelerator: TPU
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   language_info:
#     name: python
# ---

# %% [markdown]
# # One experiment on all devices
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ceteris-research/ceteris/blob/main/colab/tpu.ipynb)
#
# The same experiment runs on one device and on many; how is an option of the run, no part of the experiment. You will
# see the devices and the mesh they form, train with `jit` and with `pmap` and compare losses and speeds, see how a
# state is divided, ask what training would take of other hardware, and continue a run from its checkpoint on Google
# Drive.
#
# It is meant for a TPU (Runtime > Change runtime type) and runs on whatever there is, one CPU included.
#
# All cells took 186 s together on two cores of a shared x86-64 virtual machine, with other work beside them; nothing is
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
from research.runtime import command, prepare, runs_folder

prepare()

# %% [markdown]
# ## Devices

# %%
import jax

for device in jax.devices():
    memory = (device.memory_stats() or {}).get("bytes_limit")
    print(f"{device}: {device.device_kind}, {'memory not told' if memory is None else f'{memory / 2**30:.1f} GiB'}")

# %% [markdown]
# ## Mesh
#
# Devices form a mesh of three axes. A batch is divided over `data` and `fsdp`, parameters and optimizer state over
# `fsdp`, and the matrices of a layer over `tensor`. Unless told otherwise, all devices lie along `data`. The picture
# shows which device holds which rows of a batch.

# %%
from jax.sharding import NamedSharding, PartitionSpec

from experiments.text_transformer import experiment
from research.devices.mesh import BATCH, make_mesh
from research.experiment import Placement, replace

experiment = replace(experiment, {"steps": 100, "optimizer.warmup": 20, "batch_size": 64})
mesh = make_mesh(Placement(), jax.devices(), experiment.batch_size)
print(dict(mesh.shape))
jax.debug.visualize_sharding((experiment.batch_size, experiment.data.length), NamedSharding(mesh, PartitionSpec(BATCH)))

# %% [markdown]
# ## jit and pmap side by side
#
# A small GPT, trained three times with the same seed. `jit` compiles one program for the whole mesh; `pmap` one for
# each device, and the gradients are averaged; with `fsdp` each device keeps a share of the state. The numbers may
# differ by the order in which floats are added up, and by nothing else.

# %%
import json

from research.experiment import RunOptions
from research.training import train

placements = {
    "jit": Placement(),
    "pmap": Placement(method="pmap"),
    "fsdp": Placement(fsdp=mesh.size),
}
results, curves = {}, {}
for name, placement in placements.items():
    folder = runs_folder() / "text_transformer" / f"{name}-on-{jax.device_count()}"
    options = RunOptions(placement, log_every=10, evaluate_every=0, keep_best=False, pictures=False, progress="none")
    results[name] = train(experiment, folder, options)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    curves[name] = {line["step"]: line["loss"] for line in lines if line["split"] == "train"}
speeds = {name: result.steps / result.seconds["step"] for name, result in results.items()}
for name, result in results.items():
    print(f"{name:>4}  test loss {result.metrics['test']['loss']:.6f}  {speeds[name]:.1f} steps/s")

# %%
import matplotlib.pyplot as plt

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
styles = dict(zip(curves, ("-", "--", ":"), strict=True))
for name, curve in curves.items():
    left.plot(curve.keys(), curve.values(), styles[name], label=name, linewidth=2)
    middle.plot(curve.keys(), [abs(loss - curves["jit"][step]) for step, loss in curve.items()], styles[name])
left.set(title="Training loss", xlabel="step", ylabel="nats a character")
left.legend(frameon=False)
middle.set(title="Its distance to that of jit", xlabel="step", ylabel="nats a character")
right.barh(list(speeds), list(speeds.values()), color="tab:gray")
right.invert_yaxis()
right.set(title=f"Speed on {jax.device_count()} x {jax.devices()[0].device_kind}", xlabel="steps a second")
for axes in (left, middle, right):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## How a state is divided
#
# The model's rules name the axis of each matrix that goes over `tensor`; over `fsdp` goes the largest dimension that
# divides. What is small stays whole on every device.

# %%
from research.devices import lay_out
from research.training.update.shapes import abstract_state

tensor = 2 if mesh.size % 2 == 0 else 1
layout = lay_out(experiment, Placement(fsdp=mesh.size // tensor, tensor=tensor), jax.devices())
params = abstract_state(experiment).params
print(dict(layout.mesh.shape))
for path, sharding in jax.tree.leaves_with_path(layout.shardings(params))[:12]:
    print(f"{jax.tree_util.keystr(path, simple=True, separator='.'):<45} {sharding.spec}")

# %% [markdown]
# ## What would it take elsewhere?
#
# `plan` compiles the training step for devices that need not be here, and says whether it fits. It runs in a process of
# its own, since this one has taken the devices. The TPU's compiler comes with TPU runtimes, and with the extra
# `plan-tpu`; without it the plan is for simulated devices.

# %%
from research.planning.targets import installed, parse_target

target = "v5e:2x2" if installed(parse_target("v5e:2x2")) else "cpu:4"
command("experiments.text_transformer", "plan", "--target", target, "--batch_size", "64")

# %% [markdown]
# ## A checkpoint on Drive
#
# A Colab runtime may end at any time. Runs that are kept on Google Drive resume in the next one: open this notebook
# again and run the cells below, which find the checkpoint. Set `on_drive = True` on Colab; otherwise the folder is
# here. To have something to resume, the first cell asks for an end after half of the steps.

# %%
import dataclasses

from research.training import Interrupted

on_drive = False  # @param {type:"boolean"}
folder = runs_folder(on_drive) / "text_transformer" / "resumed"
options = RunOptions(log_every=10, evaluate_every=0, keep_best=False, pictures=False, progress="none")
try:
    train(experiment, folder, dataclasses.replace(options, stop_after=experiment.steps // 2))
except Interrupted as interruption:
    print(interruption)

# %% [markdown]
# The same call again. It resumes from there, and ends as the run above that was never interrupted.

# %%
resumed = train(experiment, folder, options)
for name, result in {"resumed": resumed, "uninterrupted": results["jit"]}.items():
    print(f"{name:>13}  step {result.steps}  test loss {result.metrics['test']['loss']:.9f}")
