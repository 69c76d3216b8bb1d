"""What a module's source says, whatever it is called inside and wherever it stands.

Comments, docstrings, names of local variables and the order of definitions decide no number, so two sources that differ
in these alone are equal here. Names of arguments count, since a caller may use them.
"""

import ast
import hashlib
from collections.abc import Iterator
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def digest(tree: ast.Module) -> str:
    """Return 32 hexadecimal digits of what a module says; the tree is changed."""
    return hashlib.blake2b(written(canonical(tree)).encode(), digest_size=16).hexdigest()


def written(node: Any) -> str:
    """Return a tree as text, without fields that are empty: later versions of Python have more of them."""
    if isinstance(node, list):
        return f"[{','.join(map(written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, item) for name, item in sorted(vars(node).items()) if name in node._fields]
    fields = [(name, item) for name, item in fields if item is not None and item != []]
    return f"{type(node).__name__}({','.join(f'{name}={written(item)}' for name, item in fields)})"


def canonical(tree: ast.Module) -> ast.Module:
    """Return a module without docstrings, its local variables numbered and its definitions in one order."""
    tree = _Numbered().visit(_WithoutDocstrings().visit(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef):
            node.body = _ordered(node.body)
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some with nothing
            node.values = [each for each in node.values if not (isinstance(each, ast.Constant) and each.value == "")]
    return tree


class _WithoutDocstrings(ast.NodeTransformer):
    """Leaves out every constant that stands by itself: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # type: ignore[return-value]


def _ordered(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return imports, then statements as they follow each other, then definitions; the first and last sorted."""
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    definitions = [node for node in body if isinstance(node, Definition)]
    others = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom | Definition)]
    return [*sorted(imports, key=written), *others, *sorted(definitions, key=written)]


class _Numbered(ast.NodeTransformer):
    """Gives the local variables of functions and comprehensions numbers in the order in which they first occur."""

    def __init__(self) -> None:
        self._scopes: list[dict[str, str]] = []

    def _name(self, name: str) -> str:
        """Return what a name is called: by its number, where the innermost scope that binds it is a local one."""
        return next((scope[name] for scope in reversed(self._scopes) if name in scope), name)

    def _within(self, kept: list[str], local: list[str], nodes: list[Any]) -> list[Any]:
        """Visit nodes in a scope of its own, which binds some names that are kept and others that are local."""
        depth = len(self._scopes)
        numbered = {name: f"{depth}.{index}" for index, name in enumerate(dict.fromkeys(local)) if name not in kept}
        self._scopes.append({**{name: name for name in kept}, **numbered})
        visited = [self.visit(node) for node in nodes]
        self._scopes.pop()
        return visited

    def _function(self, node: Any) -> Any:
        """Visit a function: its defaults and decorators outside, its body inside."""
        node.args.defaults = [self.visit(each) for each in node.args.defaults]
        node.args.kw_defaults = [each and self.visit(each) for each in node.args.kw_defaults]
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        free = {name for each in _here(body) if isinstance(each, ast.Global | ast.Nonlocal) for name in each.names}
        local = [name for name in _bound(body) if name not in free]
        visited = self._within([argument.arg for argument in _arguments(node.args)], local, body)
        node.body = visited[0] if isinstance(node, ast.Lambda) else visited
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        node.name = self._name(node.name)
        return self._function(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        node.name = self._name(node.name)
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        node.bases = [self.visit(each) for each in node.bases]
        node.keywords = [self.visit(each) for each in node.keywords]
        # Names of a class are attributes, and methods do not see them.
        own = list(dict.fromkeys(_bound(node.body)))
        methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
        others = self._within(own, [], [each for each in node.body if each not in methods])
        visited = []
        for method in methods:
            name = method.name
            method = self.visit(method)
            method.name = name
            visited.append(method)
        node.body = [*others, *visited]
        return node

    def _comprehension(self, node: Any) -> Any:
        """Visit a comprehension, whose variables are its own; the first source is computed outside."""
        first, *others = node.generators
        first.iter = self.visit(first.iter)
        local = [name for each in node.generators for name in _bound([each.target])]
        values = ("key", "value") if isinstance(node, ast.DictComp) else ("elt",)
        tails = [(each, "iter") for each in others] + [(node, name) for name in values]
        inside = [each.target for each in node.generators], [test for each in node.generators for test in each.ifs]
        nodes = [*inside[0], *inside[1], *(getattr(owner, name) for owner, name in tails)]
        visited = iter(self._within([], local, nodes))
        for each in node.generators:
            each.target = next(visited)
        for each in node.generators:
            each.ifs = [next(visited) for _ in each.ifs]
        for owner, name in tails:
            setattr(owner, name, next(visited))
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self._name(node.id)
        return node

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.Nonlocal:
        node.names = sorted(map(self._name, node.names))
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> Any:
        node.name = node.name and self._name(node.name)
        return self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> Any:
        node.name = node.name and self._name(node.name)
        return self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> Any:
        node.name = node.name and self._name(node.name)
        return node

    def visit_MatchMapping(self, node: ast.MatchMapping) -> Any:
        node.rest = node.rest and self._name(node.rest)
        return self.generic_visit(node)


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    """Yield every argument of a function."""
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None)


def _here(nodes: list[Any]) -> Iterator[ast.AST]:
    """Yield what is in some nodes in the order of the source, without what is inside of scopes of their own."""
    for node in nodes:
        yield node
        if isinstance(node, Definition):
            continue
        if isinstance(node, ast.Lambda | Comprehension):
            # A walrus in a comprehension binds outside of it.
            yield from (each for each in ast.walk(node) if isinstance(each, ast.NamedExpr))
            continue
        yield from _here(list(ast.iter_child_nodes(node)))


def _bound(nodes: list[Any]) -> Iterator[str]:
    """Yield the names that some nodes bind in their scope, but for those of imports."""
    for node in _here(nodes):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.NamedExpr(target=ast.Name(id=name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
