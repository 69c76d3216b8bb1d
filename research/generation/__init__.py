"""Texts of trained language models, from prompts: as a whole, or piece by piece as they are decided.

model, params, tokenizer = from_pretrained("gpt2")
generate(model, params, tokenizer, ["The capital of France is"], Options(tokens=20, top_p=0.9), jax.random.key(0))

What draws a token is in `research.layers.sequences.sampling`, beam search in `decoding` beside it; here are prompts
and texts, the compiled programs that they share, and what ends a text. It stands above training, beside `planning`: no
model, task or run knows of it, the command line uses it, and it reads models, tokenizers and published folders.
"""

from research.generation.options import Options
from research.generation.texts import Piece, generate, stream

__all__ = ["Options", "Piece", "generate", "stream"]
