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
# # Look inside a language model
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ceteris-research/ceteris/blob/main/colab/language.ipynb)
#
# A published language model is a folder: what it is, its parameters and its tokenizer. You will load one, look at its
# parameters and at what its heads attend to, have it write, and then switch off one head at a time and compare. The
# folder is made here, of a small GPT-2 that is trained in a minute; a real one takes the same cells.
#
# All cells took 82 s together on two cores of a shared x86-64 virtual machine, with other work beside them; nothing is
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

prepare("text", "weights")

# %% [markdown]
# ## Make a folder
#
# The experiment of `experiments/text_transformer.py` with another model and tokenizer: GPT-2 with two layers, and byte
# pairs. It learns from the manual of the Python language. Finished, it is not trained again.

# %%
from experiments import text_transformer
from research.cli.runs import default_workdir
from research.data import Trained
from research.experiment import replace
from research.models import gpt2
from research.training import restore, train

small = gpt2("124M", vocabulary=512, max_length=64, layers=2, width=128, heads=4, dropout=0.0, attention_dropout=0.0)
changes = {"model": small, "data.tokenizer": Trained("bpe", 512), "steps": 600}
experiment = replace(text_transformer.experiment, changes)
workdir = default_workdir(experiment, "text_transformer")
train(experiment, workdir)
_, state = restore(workdir)

# %% [markdown]
# A published folder has a tokenizer of the package tokenizers, which is made of the same pairs.

# %%
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from research.interchange import save_pretrained

pairs = experiment.data.trained()
merges = [tuple(merge.split(" ")) for merge in pairs.merges]
tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(pairs.tokens)}, merges))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()

folder = Path("small-gpt2")
if not folder.exists():
    save_pretrained(experiment.model, state.evaluated, folder, tokenizer)
print(sorted(path.name for path in folder.iterdir()))

# %% [markdown]
# ## Load a folder
#
# The library transformers writes and reads such folders; it need not be there. What follows uses nothing but what is
# loaded here, so any GPT-2 or Llama will do.

# %%
from research.interchange import from_pretrained

# folder = Path("gpt2")  # after `pip install huggingface_hub` and `hf download openai-community/gpt2 --local-dir gpt2`
model, params, tokenizer = from_pretrained(folder)
print(model)

# %%
import treescope

with treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()):
    treescope.display(params)

# %% [markdown]
# ## Attention
#
# Models sow what is worth looking at: of each block its output and the weights of attention. A row is a token that is
# read, a column one that it looks at, itself or an earlier one, and dark is where the head looks.

# %%
import matplotlib.pyplot as plt
import numpy as np

prompt = "The import statement is used to"
tokens = np.array([tokenizer.encode(prompt).ids])
_, sown = model.apply({"params": params}, tokens, mutable=["intermediates"])
blocks = sown["intermediates"]["decoder"]
looked = {name: np.asarray(block["attention"]["weights"][0][0]) for name, block in blocks.items()}  # [heads, l, l]
print({name: weights.shape for name, weights in looked.items()})

# %%
words = [tokenizer.decode([token]).replace(" ", "␣") for token in tokens[0].tolist()]
figure, panels = plt.subplots(2, 4, figsize=(11, 6), squeeze=False, sharex=True, sharey=True, layout="constrained")
for row, name in zip(panels, (f"layer_{index}" for index in (0, model.layers - 1)), strict=True):
    for head, panel in enumerate(row):
        panel.imshow(looked[name][head], cmap="Greys", vmin=0, vmax=1)
        panel.set_title(f"{name}, head {head}", fontsize=10)
        panel.set_xticks(range(len(words)), words, fontsize=8, rotation=90, parse_math=False)
        panel.set_yticks(range(len(words)), words, fontsize=8, parse_math=False)
        panel.tick_params(length=0)
figure.suptitle("Four heads of the first layer and of the last", fontsize=11)
plt.show()

# %% [markdown]
# ## Write
#
# The model continues a prompt, token after token. Temperature 0 takes the likeliest token each time; else one is drawn,
# here among those that together have nine tenths of the probability.

# %%
import jax

from research.generation import Options, generate

for name, options in {"likeliest": Options(40, temperature=0.0), "drawn": Options(40, top_p=0.9)}.items():
    (text,) = generate(model, params, tokenizer, [prompt], options, jax.random.key(0))
    print(f"{name}: {prompt}{text}\n")

# %% [markdown]
# ## Change one thing
#
# Which heads matter? A head speaks through its rows of the matrix behind attention: with zeros there it says nothing,
# and all else is equal. The loss is asked of the first tokens of test documents that the small model has not seen.

# %%
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

LENGTH = 48
encoded = [tokenizer.encode(document).ids for document in experiment.data.documents("test")]
tokens = jnp.array([ids[: LENGTH + 1] for ids in encoded if len(ids) > LENGTH])  # [documents, LENGTH + 1]


@jax.jit
def losses(params):
    """Return the loss of each document in nats a token."""
    logits = model.apply({"params": params}, tokens[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean(axis=1)


def without(layer, head):
    """Return the parameters with one head switched off."""
    leaves = flatten_dict(params)
    path = ("decoder", f"layer_{layer}", "attention", "output", "kernel")  # [heads x width of a head, width]
    width = len(leaves[path]) // model.heads
    return unflatten_dict({**leaves, path: leaves[path].at[head * width : (head + 1) * width].set(0.0)})


whole = dict(enumerate(np.asarray(losses(params))))
print(f"{len(whole)} documents, {np.mean(list(whole.values())):.3f} nats a token")

# %% [markdown]
# Differences are taken document by document, as a study takes them seed by seed, with an interval for their mean. p is
# corrected for the number of heads (Holm).

# %%
from research.ablation.statistics.comparison import holm, paired

heads = [(layer, head) for layer in range(model.layers) for head in range(model.heads)]
found = [paired(whole, dict(enumerate(np.asarray(losses(without(*head))))), maximize=False) for head in heads]
for (layer, head), each, p in zip(heads, found, holm([each.t_p for each in found]), strict=True):
    low, high = each.interval
    print(f"layer {layer} head {head}  {each.difference:+.3f} nats, 95 % {low:+.3f} to {high:+.3f}, p {p:.2g}")

# %%
differences = np.array([each.difference for each in found])
reach = [each.interval.high - each.difference for each in found]
figure, panel = plt.subplots(figsize=(8, 0.3 * len(heads) + 1.2), layout="constrained")
panel.errorbar(differences, range(len(heads)), xerr=reach, fmt="o", capsize=3)
panel.set_yticks(range(len(heads)), [f"layer {layer} head {head}" for layer, head in heads])
panel.axvline(0, color="grey", linewidth=1)
panel.set_xlabel("nats a token more without this head, with 95 % intervals")
panel.invert_yaxis()
plt.show()

# %% [markdown]
# The same text without the head that matters most:

# %%
most = heads[int(differences.argmax())]
(text,) = generate(model, without(*most), tokenizer, [prompt], Options(40, temperature=0.0))
print(f"without head {most[1]} of layer {most[0]}: {prompt}{text}")

# %% [markdown]
# What a head is worth to these documents need not be what it is worth to others, and heads that do the same thing can
# stand in for each other. Whether a model needs them at all is a question for training it with fewer, for several
# seeds: `python -m experiments.text_transformer ablate`, and [ablation.ipynb](ablation.ipynb).
