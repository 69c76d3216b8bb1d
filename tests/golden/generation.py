"""Makes generation.npz: what transformers' processors make of logits, and what its models write.

    python tests/golden/generation.py

Needs PyTorch (2.13.0 was used, on CPU) and transformers (5.24.0), which are not dependencies of the project. The models
are those of published.py, read from its arrays; their prompts are padded on the left, as the peer wants them.
"""

import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__)
sys.path.insert(0, str(HERE.parents[2]))

from tests.golden.folders import write  # noqa: E402

PROCESSORS = {
    "repetition_penalty": transformers.RepetitionPenaltyLogitsProcessor,
    "temperature": transformers.TemperatureLogitsWarper,
    "top_k": transformers.TopKLogitsWarper,
    "top_p": transformers.TopPLogitsWarper,
    "min_p": transformers.MinPLogitsWarper,
}
"""In the order in which the peer applies them."""
SETTINGS = (
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"temperature": 0.5},
    {"top_k": 4},
    {"top_p": 0.6},
    {"min_p": 0.2},
    {"temperature": 1.7, "top_k": 9, "top_p": 0.9},
    {"temperature": 0.6, "top_p": 0.8, "min_p": 0.1},
    {"repetition_penalty": 1.8, "temperature": 1.4, "top_k": 12, "top_p": 0.95, "min_p": 0.05},
)
PROMPTS = ((3, 17, 4, 9, 21), (8,), (5, 30, 12))
WRITTEN = 6


def processed() -> dict[str, np.ndarray]:
    """Return logits, the tokens seen before, and what comes of them by each of the settings."""
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn((5, 23), generator=generator)
    seen = torch.randint(0, 23, (5, 7), generator=generator)
    found = {"logits": logits.numpy(), "seen": seen.numpy().astype(np.int32)}
    for index, setting in enumerate(SETTINGS):
        chain = transformers.LogitsProcessorList(
            [cls(setting[name]) for name, cls in PROCESSORS.items() if name in setting]
        )
        found[f"processed/{index}"] = transformers.LogitsProcessorList(chain)(seen, logits.clone()).numpy()
    return found


def written(case: str, cls: type) -> dict[str, np.ndarray]:
    """Return the tokens that a model writes after each prompt: the likeliest, with a penalty, and with beams."""
    with tempfile.TemporaryDirectory() as folder:
        model = cls.from_pretrained(write(case, pathlib.Path(folder) / case)).eval()
    longest = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in PROMPTS])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    found = {}
    for name, options in {"greedy": {}, "penalty": {"repetition_penalty": 1.5}, "beams": {"num_beams": 3}}.items():
        options = {"length_penalty": 0.0, **options} if name == "beams" else options
        if name == "penalty":  # the peer also counts padding as seen, so each prompt is given by itself
            rows = [
                model.generate(
                    torch.tensor([prompt]), attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
                    do_sample=False, max_new_tokens=WRITTEN, eos_token_id=None, pad_token_id=0, **options,
                )[0]
                for prompt in PROMPTS
            ]  # fmt: skip
        else:
            rows = model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=WRITTEN, eos_token_id=None, pad_token_id=0,
                **options,
            )  # fmt: skip
        found[f"{case}/{name}"] = np.stack([row[-WRITTEN:].numpy() for row in rows]).astype(np.int32)
    return found


if __name__ == "__main__":
    arrays = processed()
    for case, cls in (
        ("gpt2", transformers.GPT2LMHeadModel),
        ("llama", transformers.LlamaForCausalLM),
        ("t5", transformers.T5ForConditionalGeneration),
    ):
        arrays |= written(case, cls)
    np.savez_compressed(HERE.with_suffix(".npz"), **arrays)
