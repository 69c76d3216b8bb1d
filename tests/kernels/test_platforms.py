"""Which platform computes what faster is known to kernels; layers and models call them by plain functions."""

import ast
import re
from pathlib import Path

import pytest

RESEARCH = Path(__file__).parents[2] / "research"
PLATFORMS = {"cpu", "gpu", "tpu", "cuda", "rocm", "platform", "backend"}


class WithoutDocstrings(ast.NodeTransformer):
    """Docstrings may say for which platform something was measured."""

    def visit_Expr(self, node):
        return None if isinstance(node.value, ast.Constant) else node


def words(source):
    """Every word of the code of a module, that of names in parts; neither comments nor docstrings."""
    return set(re.findall("[a-z]+", ast.unparse(WithoutDocstrings().visit(ast.parse(source))).lower()))


def test_words_are_those_of_code_alone():
    assert words('"""On a CPU."""\nx = f(gpu=1, at="tpu")  # cuda') == {"x", "f", "gpu", "at", "tpu"}
    assert words("jax.lax.platform_dependent(x)") & PLATFORMS and not words("output") & PLATFORMS


@pytest.mark.parametrize("room", ["layers", "models"])
def test_the_code_of_a_room_names_no_platform(room):
    files = sorted((RESEARCH / room).rglob("*.py"))
    assert len(files) > 10
    found = {path.relative_to(RESEARCH).as_posix(): words(path.read_text()) & PLATFORMS for path in files}
    assert {name: named for name, named in found.items() if named} == {}


def test_forms_are_chosen_between_in_kernels_alone():
    choosing = [path for path in RESEARCH.rglob("*.py") if "platform_dependent" in path.read_text()]
    assert {path.relative_to(RESEARCH).parts[0] for path in choosing} == {"kernels"}
