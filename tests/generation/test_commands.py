"""What is typed: `generate` of an experiment, and `python -m research.generation` of a published folder."""

import io
import json

import jax
import pytest
import tokenizers

from experiments import digits_cnn
from research import cli
from research.data import Text
from research.experiment import Experiment
from research.generation import Options, Piece, __main__, generate
from research.generation.published import special_tokens
from research.generation.terminal import RULE, show
from research.interchange import from_pretrained
from research.models import TransformerLanguageModel
from research.optimization import Optimizer
from research.tasks import LanguageModeling
from research.training import restore
from research.training.initialization.beginning import begin
from tests.golden.folders import write


@pytest.fixture
def typed(capsys):
    """Runs a command line; returns exit code, standard output and standard error."""

    def run(experiment, *words):
        with pytest.raises(SystemExit) as left:
            cli.main(experiment, file="writes.py", arguments=["generate", *map(str, words)])
        return (left.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """A model of bytes with the folder of its run, before its first step."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("All else equal.\n" * 20)
    monkeypatch.chdir(tmp_path)
    model = TransformerLanguageModel(layers=1, width=10, heads=1, vocabulary=256, positions="alibi")
    value = Experiment(model, LanguageModeling(), Text("./notes", length=16), Optimizer(), steps=1, batch_size=2)
    begin(value, "run")
    return value


def test_generate_prints_what_python_returns(experiment, typed):
    """Each text behind its prompt; a window is as long as those it has learned from."""
    words = ("--workdir", "run", "--prompt", "All", "--prompt", "el", "--tokens", 24, "--top_k", 5, "--draw", 3)
    code, out, err = typed(experiment, *words)
    assert (code, err) == (0, "")
    _, state = restore("run")
    options, prompts = Options(tokens=24, top_k=5, window=16), ["All", "el"]
    texts = generate(experiment.model, state.params, experiment.data.trained(), prompts, options, jax.random.key(3))
    assert out == f"\n{RULE}\n".join(prompt + text for prompt, text in zip(prompts, texts, strict=True)) + "\n"
    words = ("--workdir", "run", "--prompt", "All", "--tokens", 4, "--beams", 2, "--temperature", 0.5)
    code, out, err = typed(experiment, *words)
    assert code == 2 and "beams draw nothing: leave temperature out" in err and out == ""


def test_what_cannot_write_says_so(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = typed(digits_cnn.experiment, "--prompt", "All")
    assert (code, out) == (2, "")
    assert err == "error: CNN cannot write: it has no start and step; choose a language model\n"


def test_a_terminal_shows_pieces_as_they_come(monkeypatch):
    """Characters that would move its cursor are shown as unknown ones; elsewhere they are what they are."""
    shown = {}
    for live in (True, False):
        written = io.StringIO()
        written.isatty = lambda live=live: live
        monkeypatch.setattr("sys.stdout", written)
        seen = []

        def pieces(seen=seen, written=written):
            for piece in (Piece(0, "b"), Piece(1, "y\x1b[2J"), Piece(0, "c\n"), Piece(1, "z")):
                yield piece
                seen.append(written.getvalue())

        show(pieces(), ["a", "x"])
        shown[live] = written.getvalue()
        assert seen == ["ab", "ab", "abc\n", "abc\n"]
    assert shown[False] == f"abc\n\n{RULE}\nxy\x1b[2Jz\n"
    assert shown[True] == f"abc\n\n{RULE}\nxy\ufffd[2Jz\n"


LETTERS = "abcdefghijklmnopqrstuvwxyz<>|\n "
TEMPLATE = "{% for message in messages %}<{{ message.role }}>\n{{ message.content }}\n{% endfor %}<a>"


@pytest.fixture
def folder(tmp_path):
    """A GPT-2 with a tokenizer and a chat template."""
    folder = write("gpt2", tmp_path / "gpt2")
    model = tokenizers.models.BPE({letter: index for index, letter in enumerate(LETTERS)}, [])
    library = tokenizers.Tokenizer(model)
    library.decoder = tokenizers.decoders.Fuse()
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder


def test_a_published_folder_writes(folder, capsys):
    words = [str(folder), "--prompt", "abc", "--tokens", "9", "--temperature", "0", "--stop", "qq"]
    assert __main__.main(words) == 0
    model, params, tokenizer = from_pretrained(folder)
    (text,) = generate(model, params, tokenizer, ["abc"], Options(tokens=9, temperature=0.0))
    assert capsys.readouterr().out == f"abc{text}\n" and len(text) == 9
    assert __main__.main([*words, "--chat", "--system", "be"]) == 0
    prompt = "<system>\nbe\n<user>\nabc\n<a>"
    (text,) = generate(model, params, tokenizer, [prompt], Options(tokens=9, temperature=0.0))
    assert capsys.readouterr().out == f"{text}\n"
    (folder / "tokenizer_config.json").unlink()
    assert __main__.main([*words, "--chat"]) == 2
    assert "has no chat template: leave --chat out" in capsys.readouterr().err
    assert __main__.main([str(folder / "none"), "--prompt", "a"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert __main__.main(["--prompt", "a"]) == 2
    assert capsys.readouterr().err == "error: FOLDER must be given; --help says what there is\n"


def test_where_texts_begin_and_end_is_what_the_folder_says(tmp_path):
    def said(**files):
        for name, entries in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(entries))
        return special_tokens(tmp_path)

    assert said(config={"eos_token_id": 7}) == {"stop_tokens": (7,), "start_token": 0}
    assert said(config={"pad_token_id": 3}) == {"stop_tokens": (), "start_token": 3}
    config, generation = (
        {"eos_token_id": 7, "decoder_start_token_id": 2},
        {"eos_token_id": [7, 9], "pad_token_id": None},
    )
    assert said(config=config, generation_config=generation) == {"stop_tokens": (7, 9), "start_token": 2}
    with pytest.raises(ValueError, match="they should be ids"):
        said(config={"eos_token_id": "seven"}, generation_config={})
