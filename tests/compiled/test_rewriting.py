"""What mypyc is given does what the sources do, and keeps their lines."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from everfly.compiled.build import rewritten
from everfly.compiled.rewriting import RewritingError, rewrite

SAMPLE = '''"""A module."""

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(slots=True, eq=False)
class Timed:
    """Something with a time."""

    due: int | None = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class Record(Timed):
    """Something that changes."""

    name: str
    tags: list[str] = field(default_factory=list)
    """Words."""
    notes: "dict[str, Value]" = field(
        default_factory=dict
    )
    first: "Value" = field(default_factory=lambda: Value(1))
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.name)


@dataclass(frozen=True, slots=True)
class Value:
    """Something that does not."""

    is_late: ClassVar[bool] = True
    number: int
    text: str = ""


@dataclass(slots=True)
class Loose:
    """Compared by value, and changes."""

    number: int


def line() -> int:
    """Tell where an error comes from."""
    return 1 // 0
'''


def load(name: str, text: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(text, name, "exec"), module.__dict__)
    finally:
        del sys.modules[name]
    return module


@pytest.fixture(params=["plain", "rewritten"])
def sample(request: pytest.FixtureRequest) -> ModuleType:
    text = SAMPLE if request.param == "plain" else rewrite({"sample": SAMPLE})["sample"]
    return load(f"sample_{request.param}", text)


def test_a_record_takes_what_it_is_given_and_makes_the_rest(sample: ModuleType) -> None:
    one = sample.Record("abc", tags=["x"])
    other = sample.Record("de", ["y"], {"v": sample.Value(3)}, sample.Value(4))
    assert (one.name, one.tags, one.notes, one.size, one.due) == ("abc", ["x"], {}, 3, None)
    assert (other.tags, other.notes["v"].number, other.first.number) == (["y"], 3, 4)
    assert one.first == sample.Value(1)


def test_what_a_factory_makes_is_not_shared(sample: ModuleType) -> None:
    one, other = sample.Record("a"), sample.Record("b")
    one.tags.append("x")
    assert other.tags == []


def test_records_are_compared_by_identity(sample: ModuleType) -> None:
    one = sample.Record("a")
    assert one == one  # noqa: PLR0124 - the very same
    assert one != sample.Record("a")
    assert len({one, sample.Record("a")}) == 2


def test_values_are_compared_and_hashed_by_their_fields(sample: ModuleType) -> None:
    assert sample.Value(1, "a") == sample.Value(1, "a")
    assert sample.Value(1, "a") != sample.Value(1, "b")
    assert sample.Value(1) != 1
    assert hash(sample.Value(1, "a")) == hash((1, "a"))


def test_what_is_compared_by_value_and_changes_has_no_hash(sample: ModuleType) -> None:
    assert sample.Loose(1) == sample.Loose(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(sample.Loose(1))


def test_values_are_copied_matched_and_shown(sample: ModuleType) -> None:
    changed = dataclasses.replace(sample.Value(1, "a"), number=2)
    assert (changed.number, changed.text) == (2, "a")
    assert [one.name for one in dataclasses.fields(sample.Value)] == ["number", "text"]
    assert sample.Value.__match_args__ == ("number", "text")
    assert repr(sample.Value(1, "a")) == "Value(number=1, text='a')"


def test_a_class_variable_is_read_from_a_value(sample: ModuleType) -> None:
    assert sample.Value(1).is_late is True


def test_what_is_lacking_or_too_much_is_refused(sample: ModuleType) -> None:
    with pytest.raises(TypeError, match="name"):
        sample.Record()
    with pytest.raises(TypeError, match="due"):
        sample.Record("a", due=3)


def test_an_error_names_the_line_of_the_source(sample: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        sample.line()
    assert caught.traceback[-1].lineno == SAMPLE.splitlines().index("    return 1 // 0")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("@dataclass(order=True)\nclass A:\n    a: int\n", "order=True"),
        ("@other\n@dataclass\nclass A:\n    a: int\n", "unknown decorators"),
        ("@dataclass\nclass A:\n    a: int = field(kw_only=True)\n", "kw_only"),
        ("@dataclass\nclass A:\n    a: InitVar[int]\n", "InitVar"),
        ("@dataclass\nclass A:\n    a: int\n    b = 3\n", "neither field nor method"),
        ("@dataclass\nclass A:\n    a: int\n    def __init__(self): pass\n", "constructor"),
        ("@dataclass\nclass A:\n    ''\n\n\n\n@dataclass\nclass B(A):\n    b: int\n", "by value"),
        ("@dataclass\nclass A:\n    a: int\nb = 1\n", "no line left"),
    ],
)
def test_what_is_not_known_is_refused_by_name(text: str, problem: str) -> None:
    with pytest.raises(RewritingError, match=problem):
        rewrite({"m": text})


def test_each_function_of_the_sources_keeps_its_line(tmp_path: Path) -> None:
    def functions(text: str) -> dict[tuple[str, int], int | None]:
        return {
            (one.name, one.lineno): one.end_lineno
            for one in ast.walk(ast.parse(text))
            if isinstance(one, ast.FunctionDef)
        }

    source = Path(sys.modules["everfly"].__file__ or "").parent
    paths = rewritten(tmp_path / "everfly")
    assert len(paths) > 50
    for path in paths:
        before = functions((source / path.relative_to(tmp_path / "everfly")).read_text())
        after = functions(path.read_text())
        assert before.items() <= after.items(), path


RUN = """
import sys
from everfly.sim import run
from everfly.sim.profiles import profile_of
sys.stdout.write(run.__file__ + "\\n")
for profile in ("any", "mixed", "planned"):
    for seed in (3, 4):
        outcome = run.run(seed, profile=profile_of(profile))
        sys.stdout.write(f"{profile} {seed} {outcome.trace_hash} {outcome.violations}\\n")
"""


def test_worlds_are_the_same_after_rewriting(tmp_path: Path) -> None:
    rewritten(tmp_path / "everfly")

    def told(place: Path) -> list[str]:
        line = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(place)!r}){RUN}"]
        done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=100)
        return done.stdout.splitlines()

    source = Path(sys.modules["everfly"].__file__ or "").parent.parent
    plain, other = told(source), told(tmp_path)
    assert (plain[0], other[0]) == (
        str(source / "everfly/sim/run.py"),
        str(tmp_path / "everfly/sim/run.py"),
    )
    assert len(plain) == 7
    assert plain[1:] == other[1:]
