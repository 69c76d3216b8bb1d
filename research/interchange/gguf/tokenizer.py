"""The tokenizer that a GGUF file has in its entries: byte-pair encoding as GPT-2 has it."""

from collections.abc import Mapping
from typing import Any

from research.errors import UsageError, suggestion

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CUTS = {"gpt-2": (GPT2,), "smollm": (r"\p{N}", GPT2), "llama-bpe": (LLAMA3,)}
"""What a text is cut into before pairs are merged, one expression after another, by the name of it."""
WHOLE_FIRST = BEGINS = ("llama-bpe",)
"""Those with which a piece that is a token is not merged from its bytes, and with which a text has a first token."""
CONTROL, OWN = 3, 4
"""Kinds of tokens that are found before a text is cut: those that are no text, and those that are."""


def tokenizer_of(metadata: Mapping[str, Any]) -> Any:
    """Return the tokenizer of a file's entries.

    Raises:
        UsageError: it is of another kind, cuts texts in a way that is not known, or is damaged; the package is not
            installed.
    """
    kind, cut = (metadata.get(f"tokenizer.ggml.{name}") for name in ("model", "pre"))
    if kind != "gpt2":
        raise UsageError(f'its tokenizer is of the kind "{kind}", where "gpt2" alone is read')
    if cut not in CUTS:
        raise UsageError(f'its tokenizer cuts texts as "{cut}"{suggestion(str(cut), CUTS)}')
    try:
        return _made(metadata, cut)
    except ImportError:
        raise UsageError('its tokenizer needs a package: pip install "ceteris-research[text]"') from None
    except Exception as error:  # the package raises no other
        raise UsageError(f"its tokenizer is damaged ({error})") from error


def _made(metadata: Mapping[str, Any], cut: str) -> Any:
    """Return the tokenizer. Raises `Exception` of many kinds where entries are damaged."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    words = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in metadata["tokenizer.ggml.merges"]]
    kinds = metadata.get("tokenizer.ggml.token_type", [])
    ids = {word: index for index, word in enumerate(words)}
    if len(ids) < len(words):
        raise ValueError("a token is there twice")
    tokenizer = Tokenizer(models.BPE(ids, merges, ignore_merges=cut in WHOLE_FIRST))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(expression), "isolated") for expression in CUTS[cut]),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for kind, special in ((CONTROL, True), (OWN, False)):
        found = [word for word, of in zip(words, kinds, strict=False) if of == kind]
        tokenizer.add_tokens([AddedToken(word, special=special, normalized=False) for word in found])
    around = {
        place: words[metadata[f"tokenizer.ggml.{place}_token_id"]]
        for place, default in (("bos", cut in BEGINS), ("eos", False))
        if metadata.get(f"tokenizer.ggml.add_{place}_token", default)
    }
    if around:
        template = " ".join([*around.get("bos", "").split(), "$A", *around.get("eos", "").split()])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(word, ids[word]) for word in around.values()]
        )
    return tokenizer


def words_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a tokenizer_config.json would say: the chat template and the special tokens as text."""
    words = metadata.get("tokenizer.ggml.tokens", [])
    found = {"chat_template": metadata.get("tokenizer.chat_template")}
    for name, theirs in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items():
        index = metadata.get(f"tokenizer.ggml.{theirs}_token_id")
        if isinstance(index, int) and index < len(words):
            found[f"{name}_token"] = words[index]
    return found
