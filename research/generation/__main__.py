"""Texts of a published language model.

python -m research.generation FOLDER --prompt "The capital of France is" --tokens 20
python -m research.generation FOLDER --chat --prompt "What is the capital of France?"

A FOLDER is one as transformers writes it, or as `python -m research.weights export --output FOLDER` does, with a
tokenizer.json; a FILE.gguf of a Llama; or org/name, which is looked for in the cache of this machine first.
"""

import dataclasses
import functools
import sys
import types
from collections.abc import Sequence
from typing import Annotated

import jax
import tyro

from research import command_lines
from research.errors import UsageError
from research.fields import Seed
from research.generation.chat import read_template, render
from research.generation.options import Options
from research.generation.published import special_tokens
from research.generation.terminal import show
from research.generation.texts import stream
from research.generation.writing import first_token
from research.interchange import from_pretrained
from research.interrupts import ends_at_ctrl_c
from research.streams import open_streams, output_failed


@dataclasses.dataclass(frozen=True)
class GenerateFromFolder:
    """Write continuations of prompts, or answers to them where the model is an encoder-decoder."""

    folder: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="FOLDER")]]
    """Folder of the model and its tokenizer, FILE.gguf, or org/name as on the Hugging Face Hub."""
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]]
    """What is to be continued or answered; repeat the flag for further prompts, which are written as one batch."""
    options: Annotated[Options, tyro.conf.arg(name="")] = Options()
    draw: Seed = 0
    """Another number draws other texts."""
    revision: str | None = None
    """Branch, tag or commit of org/name."""
    chat: bool = False
    """Take each prompt for what a user says, put into the folder's chat template."""
    system: str | None = None
    """With --chat, what the model is told beforehand."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 the output is full, 2 bad usage, 130 stopped."""
    open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        print(__doc__.strip())
        return 0
    try:
        with ends_at_ctrl_c():
            run(
                command_lines.parse(
                    GenerateFromFolder,
                    args=words,
                    prog="python -m research.generation",
                    description=__doc__,
                )
            )
            sys.stdout.flush()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not output_failed("\n"):
            raise
        if not isinstance(error, BrokenPipeError):  # else whoever read the output, such as `head`, has gone
            print(f"error: standard output failed: {error.strerror}", file=sys.stderr)
            return 1
    return 0


def run(arguments: GenerateFromFolder) -> None:
    """Print the texts."""
    if not arguments.prompt:
        raise UsageError('there is no prompt: give --prompt "...", once for each text')
    if arguments.system is not None and not arguments.chat:
        raise UsageError("--system is for --chat: put it into the prompt, or add --chat")
    source, revision = arguments.folder, arguments.revision
    template = read_template(source, revision) if arguments.chat else None
    model, params, tokenizer = from_pretrained(source, revision)
    if tokenizer is None:
        raise UsageError(f"{source} has no tokenizer, without which a text has no tokens")
    said = special_tokens(source, revision)
    options = dataclasses.replace(
        arguments.options,
        **said if arguments.options.stop_tokens is None else {"start_token": said["start_token"]},
    )
    prompts: Sequence[str] = arguments.prompt
    if template is not None:
        system = [] if arguments.system is None else [{"role": "system", "content": arguments.system}]
        prompts = [render(template, [*system, {"role": "user", "content": prompt}]) for prompt in prompts]
        # What begins a text stands in the template already.
        encode = functools.partial(tokenizer.encode, add_special_tokens=False)
        tokenizer = types.SimpleNamespace(encode=encode, decode=tokenizer.decode)
    continues = first_token(model, options) is None and not arguments.chat
    pieces = stream(model, params, tokenizer, prompts, options, jax.random.key(arguments.draw))
    show(pieces, prompts if continues else [""] * len(prompts))


if __name__ == "__main__":
    sys.exit(main())
