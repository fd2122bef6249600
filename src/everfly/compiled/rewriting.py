"""Turn the text of a module into one that mypyc compiles well, line by line the same.

mypyc makes a C structure of a class, but leaves a dataclass's methods to `dataclasses`, which
writes them in Python when the module is imported: constructing a value, and comparing two, would
stay as slow as before. Here they are written out, as `dataclasses` would write them:

    @dataclass(frozen=True, slots=True)   @dataclass(init=False, eq=False)
    class Ponged:                         class Ponged:
        (its docstring)                       def __init__(self, link: int): self.link = link
        link: int                             link: int
                                              def __eq__ ...
                                              def __hash__ ...

Rules:

1. Each statement keeps its line, so that what is raised names the right one: new methods take the
   lines of docstrings, and the empty ones behind the class.
2. What is not known here is an error, never a guess: the module then stays plain.
3. `slots` goes, since compiled classes have nothing else; `frozen` goes, since mypy and the plain
   code see to it. The decorator stays where values are compared or copied (`replace`, `fields`) and
   goes from records that are compared by identity (`eq=False`).
4. `ClassVar[X] = value` becomes an attribute: mypyc would take it for a field.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from everfly.errors import LocalError

EMPTY: Final = {"dict": "{}", "list": "[]"}
"""Factory -> what it makes, written so that mypy sees its type."""

_FLAGS: Final = {"frozen", "slots", "eq"}
"""Of `dataclass` that are understood."""


class RewritingError(LocalError):
    """A dataclass uses what is not known here; the message says where and what."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a dataclass, in source text."""

    name: str
    annotation: str
    value: str | None
    """Its default, or what its factory makes; None: it must be given."""
    is_made: bool
    """By a factory: anew for each object."""
    is_given: bool
    """It is a parameter of the constructor."""


@dataclass(slots=True, eq=False)
class Record:
    """One dataclass."""

    module: str
    tree: ast.ClassDef
    is_frozen: bool
    has_eq: bool
    fields: list[Field]
    constants: list[tuple[str, str, str]]
    """Class variables: name, type, value."""
    methods: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.tree.name


def rewrite(texts: Mapping[str, str]) -> dict[str, str]:
    """Rewrite modules that are compiled together: name -> text, in and out.

    Raises RewritingError.
    """
    trees = {name: ast.parse(text) for name, text in texts.items()}
    records = [record for name, tree in trees.items() for record in _records(name, tree)]
    bases: dict[str, list[Record]] = {}
    for record in records:
        bases.setdefault(record.name, []).append(record)
    result = {}
    for name, text in texts.items():
        lines = text.split("\n")
        for record in records:
            if record.module == name:
                _rewrite_record(lines, record, trees[name], _all_fields(record, bases))
        result[name] = "\n".join(lines)
    return result


# Reading.


def _records(module: str, tree: ast.Module) -> Iterator[Record]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
            if isinstance(call.func, ast.Name) and call.func.id == "dataclass":
                yield _record(module, node, call)


def _record(module: str, node: ast.ClassDef, call: ast.Call) -> Record:
    where = f"{module}, line {node.lineno}, class {node.name}"
    flags = {one.arg: getattr(one.value, "value", None) for one in call.keywords}
    if call.args or not flags.keys() <= _FLAGS or len(node.decorator_list) > 1:
        raise RewritingError(f"{where}: unknown decorators or options: {ast.unparse(call)}")
    found = Record(module, node, bool(flags.get("frozen")), flags.get("eq") is not False, [], [])
    for one in node.body:
        if isinstance(one, ast.FunctionDef):
            found.methods.add(one.name)
        elif isinstance(one, ast.AnnAssign):
            assert isinstance(one.target, ast.Name), where
            annotation = ast.unparse(one.annotation)
            if annotation.startswith("ClassVar["):
                assert one.value is not None, where
                kind = annotation.removeprefix("ClassVar[").removesuffix("]")
                found.constants.append((one.target.id, kind, ast.unparse(one.value)))
            else:
                found.fields.append(_field(one.target.id, annotation, one.value, where))
        elif not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)):
            raise RewritingError(f"{where}: line {one.lineno} is neither field nor method")
    if "__init__" in found.methods:
        raise RewritingError(f"{where}: a constructor of its own")
    return found


def _field(name: str, annotation: str, value: ast.expr | None, where: str) -> Field:
    if annotation.strip("'\"").startswith(("InitVar", "KW_ONLY", "ClassVar")):
        raise RewritingError(f"{where}: {name} is of an unknown kind: {annotation}")
    match value:
        case None:
            return Field(name, annotation, None, is_made=False, is_given=True)
        case ast.Call(func=ast.Name(id="field"), args=[], keywords=options):
            pass
        case _:
            return Field(name, annotation, ast.unparse(value), is_made=False, is_given=True)
    made, is_made, is_given = None, False, True
    for one in options:
        match one.arg, one.value:
            case "default", default:
                made = ast.unparse(default)
            case "default_factory", ast.Lambda(body=body):
                made, is_made = ast.unparse(body), True
            case "default_factory", factory:
                called = ast.unparse(factory)
                made, is_made = EMPTY.get(called, f"{called}()"), True
            case "init", ast.Constant(value=bool(is_given)):
                pass
            case _:
                raise RewritingError(f"{where}: {name} has an unknown option {one.arg}")
    return Field(name, annotation, made, is_made, is_given)


def _all_fields(record: Record, bases: Mapping[str, list[Record]]) -> list[Field]:
    """Return inherited fields, then its own: the order of the constructor's parameters."""
    found: dict[str, Field] = {}
    for base in record.tree.bases:
        same = bases.get(ast.unparse(base), [])
        if len(same) > 1 or any(one.has_eq for one in same):
            raise RewritingError(
                f"{record.module}: the base of {record.name} is not the only one "
                "of its name, or it is compared by value"
            )
        for one in same:
            found |= {inherited.name: inherited for inherited in _all_fields(one, bases)}
    return list((found | {one.name: one for one in record.fields}).values())


# Writing.


def _rewrite_record(
    lines: list[str], record: Record, module: ast.Module, fields: list[Field]
) -> None:
    """Rewrite one class in place."""
    spare = _spare_lines(lines, record, module)
    (decorator,) = record.tree.decorator_list
    stays = "@dataclass(init=False, eq=False)" if record.has_eq else ""
    _replace(lines, decorator, stays)
    for one in record.tree.body:
        if not isinstance(one, ast.AnnAssign):
            continue
        assert isinstance(one.target, ast.Name)
        if one.target.id in {name for name, _, _ in record.constants}:
            _replace(lines, one, "")
        elif not record.has_eq and one.value is not None:
            # As an attribute of a plain class it would be made once for all.
            _replace(lines, one, f"    {one.target.id}: {ast.unparse(one.annotation)}")
    for method in _methods(record, fields):
        line = next(spare, None)
        if line is None:
            raise RewritingError(f"{record.module}: no line left for a method of {record.name}")
        lines[line] = f"    {method}"


def _spare_lines(lines: list[str], record: Record, module: ast.Module) -> Iterator[int]:
    """Yield lines that may be written on, as indexes; docstrings are blanked first."""
    spare: list[int] = []
    for one in record.tree.body:
        if isinstance(one, ast.Expr):
            _replace(lines, one, "")
            spare += range(one.lineno - 1, one.end_lineno or one.lineno)
    after = record.tree.end_lineno or 0
    later = [one.lineno for one in module.body if one.lineno > after]
    later += [
        one.lineno
        for node in module.body
        for one in getattr(node, "decorator_list", [])
        if one.lineno > after
    ]
    if not later:
        lines += ["", "", ""]
        later = [len(lines) + 1]
    # A comment before the next statement may go.
    return iter([*spare, *range(after, min(later) - 1)])


def _replace(lines: list[str], node: ast.stmt | ast.expr, text: str) -> None:
    """Put text in the place of a node that has its lines for itself."""
    first, last = node.lineno - 1, node.end_lineno or node.lineno
    lines[first:last] = [text, *[""] * (last - first - 1)]


def _methods(record: Record, fields: list[Field]) -> Iterator[str]:
    """Yield methods of one line each."""
    yield _constructor(record, fields)
    if not record.has_eq:
        return
    if "__eq__" not in record.methods:
        same = " and ".join(f"self.{one.name} == other.{one.name}" for one in fields) or "True"
        known = f"isinstance(other, {record.name})"
        yield (
            "def __eq__(self, other: object) -> bool: "
            f"return ({same}) if {known} else NotImplemented"
        )
    if record.is_frozen and "__hash__" not in record.methods:
        values = "".join(f"self.{one.name}, " for one in fields)
        yield f"def __hash__(self) -> int: return hash(({values}))"


def _constructor(record: Record, fields: list[Field]) -> str:
    parameters, body = ["self"], []
    for one in fields:
        value = one.name
        if not one.is_given:
            if one.value is None:
                continue  # `__post_init__` sees to it
            value = one.value
        elif one.is_made:
            parameters.append(f"{one.name}: {_or_none(one.annotation)} = None")
            value = f"{one.value} if {one.name} is None else {one.name}"
        elif one.value is not None:
            parameters.append(f"{one.name}: {one.annotation} = {one.value}")
        else:
            parameters.append(f"{one.name}: {one.annotation}")
        body.append(f"self.{one.name} = {value}")
    body += [f"self.{name}: {kind} = {value}" for name, kind, value in record.constants]
    if "__post_init__" in record.methods:
        body.append("self.__post_init__()")
    return f"def __init__({', '.join(parameters)}) -> None: {'; '.join(body) or 'pass'}"


def _or_none(annotation: str) -> str:
    if annotation[0] in "'\"":
        return f"'{annotation[1:-1]} | None'"
    return f"{annotation} | None"
