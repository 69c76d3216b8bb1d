"""What a config.json says, each entry of which has to be understood: one that is ignored may change every number."""

from collections.abc import Mapping
from typing import Any, TypeVar

from research.errors import UsageError

T = TypeVar("T")

NOTHING_COMPUTED = {
    *("_name_or_path", "architectures", "model_type", "transformers_version", "transformers.js_config"),
    *("torch_dtype", "dtype", "use_bfloat16", "torchscript", "tf_legacy_loss", "gradient_checkpointing", "use_cache"),
    *("_attn_implementation_autoset", "chunk_size_feed_forward", "initializer_range"),
    *("output_attentions", "output_hidden_states", "return_dict", "return_dict_in_generate", "output_scores"),
    *("finetuning_task", "task_specific_params", "problem_type", "id2label", "label2id", "prefix", "tokenizer_class"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "decoder_start_token_id"),
    *("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"),
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
    *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "num_return_sequences"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "remove_invalid_values"),
    "exponential_decay_length_penalty",
}
"""Entries of any family about files, training, generation and texts, none of which is part of a model here."""
UNUSED = {
    "is_encoder_decoder": False,
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_encoder_decoder": False,
    "pruned_heads": {},
}
"""Entries of any family that change a model, and what they are in those here, unless a family says otherwise."""


class Configuration:
    """The entries of a config.json, or of what is in its place; an entry that is null counts as not there.

    Every method raises `UsageError` where an entry is not what it should be.
    """

    def __init__(self, entries: Mapping[str, Any], file: str = "config.json", within: str = "") -> None:
        self._entries = {name: entry for name, entry in entries.items() if entry is not None}
        self._file, self._within = file, within
        self._understood = set(NOTHING_COMPUTED)

    def size(self, name: str, default: int) -> int:
        """Return a whole number from 1 on that an array can have as its length."""
        found = self._entry(name, default)
        if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found < 2**31:
            raise self._wrong(name, "a whole number from 1 on and below 2^31")
        return found

    def optional_size(self, name: str) -> int | None:
        """Return a whole number from 1 on, None where it is not there."""
        return None if self._entry(name, None) is None else self.size(name, 1)

    def number(self, name: str, default: float) -> float:
        """Return a number."""
        found = self._entry(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self._wrong(name, "a number")
        return float(found)

    def same_number(self, *names: str, default: float) -> float:
        """Return the number that all of several entries are, as one field stands for them here."""
        found = {name: self.number(name, default) for name in names}
        if len(set(found.values())) > 1:
            said = " and ".join(f"{name}={number:g}" for name, number in found.items())
            raise UsageError(f"{self._file} asks for {said}, which are one number in models here")
        return found[names[0]]

    def choice(self, name: str, known: Mapping[Any, T], default: Any) -> T:
        """Return what stands for an entry here."""
        found = self._entry(name, default)
        if not isinstance(found, str | bool) or found not in known:
            raise self._unlike(name, " or ".join(repr(word) for word in known))
        return known[found]

    def expect(self, **entries: Any) -> None:
        """Raise unless those of the entries that are there are as models here have them."""
        for name, expected in entries.items():
            found = self._entry(name, expected)
            alike = found == expected and isinstance(found, bool) == isinstance(expected, bool)
            if name in self._entries and not alike:
                raise self._unlike(name, repr(expected))

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return the entries that an entry has of its own, none where it is not there."""
        found = self._entry(name, {})
        if not isinstance(found, Mapping):
            raise self._wrong(name, "an object")
        return found

    def ignore(self, *names: str) -> None:
        """Take entries for understood that change nothing of what a model computes."""
        self._understood.update(names)

    def finish(self) -> None:
        """Raise where an entry was not understood."""
        self.expect(**{name: unused for name, unused in UNUSED.items() if name not in self._understood})
        if left := sorted(self._entries.keys() - self._understood):
            names = " and ".join(f'"{self._within}{name}"' for name in left)
            raise UsageError(
                f"{self._file} has {names}, which models here do not have and which may change what is computed: take "
                "out what does not"
            )

    def _entry(self, name: str, default: Any) -> Any:
        """Return an entry, or the default where it is not there; it is understood."""
        self._understood.add(name)
        return self._entries.get(name, default)

    def _wrong(self, name: str, kind: str) -> UsageError:
        """Return what to raise for an entry of another kind."""
        return UsageError(f"{self._file} says {self._within}{name}={self._entries[name]!r}, which should be {kind}")

    def _unlike(self, name: str, ours: str) -> UsageError:
        """Return what to raise for an entry that models here do not have."""
        return UsageError(
            f"{self._file} asks for {self._within}{name}={self._entries[name]!r}, but models here have {ours}"
        )
