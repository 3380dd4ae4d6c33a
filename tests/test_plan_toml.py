"""Plans in TOML: what each key means, where everything stands, and the order against an oracle."""

from __future__ import annotations

import random
import re
import tomllib
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from fastdag import Requirement
from fastdag.plan import Need, PlanError, PlannedUnit, load
from fastdag.plan.lines import Lines
from fastdag.plan.parser import TOMLDecodeError, loads

SUCCESS, COMPLETION = Requirement.SUCCESS, Requirement.COMPLETION


@pytest.fixture
def plan(tmp_path):
    def make(text):
        path = tmp_path / "plan.toml"
        path.write_text(text, "utf-8")
        return load(path)

    return make


def needs(plan):
    return {name: set(unit.needs) for name, unit in plan.units.items()}


def test_every_key(plan):
    made = plan("""
[units.first]
run = "true"
[units.all]
run = ["make", "-j2", ""]
shell = "/bin/bash"
cwd = "app"
env = { PORT = "8080", EMPTY = "" }
after = ["first"]
before = [{ unit = "last", requires = "completion" }]
timeout = "1m30s"
expected = "0.5s"
retries = 2
priority = -3
slots = 4
exclusive = "port 8080"
[units.last]
run = "true"
""")
    assert made.units["all"] == PlannedUnit(
        name="all",
        title="all",
        run=["make", "-j2", ""],
        shell="/bin/bash",
        cwd="app",
        env={"PORT": "8080", "EMPTY": ""},
        needs=(Need("first", SUCCESS),),
        timeout=90.0,
        expected=0.5,
        retries=2,
        priority=-3,
        slots=4,
        exclusive="port 8080",
    )
    assert made.units["last"].needs == (Need("all", COMPLETION),)
    assert [made.place(name)[1] for name in made.units] == [2, 4, 17]
    assert list(made.units) == ["first", "all", "last"]


def test_the_example_of_the_readme(plan):
    text = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert needs(plan(example)) == {
        "clone": set(),
        "install": {Need("clone", SUCCESS)},
        "report": {Need("install", COMPLETION)},
    }


def test_defaults_fill_in_and_give_way(plan):
    made = plan("""
[defaults]
run = "make"
timeout = "10m"
env = { A = "1", B = "1" }
after = ["setup"]
[units.setup]
after = []
timeout = "0"
[units.build]
env = { B = "2" }
""")
    setup, build = made.units.values()
    assert (setup.run, setup.timeout, setup.env, setup.needs) == ("make", None, {"A": "1", "B": "1"}, ())
    assert (build.run, build.timeout, build.needs) == ("make", 600.0, (Need("setup", SUCCESS),))
    assert build.env == {"A": "1", "B": "2"}


def test_groups_may_hold_groups_and_units_twice(plan):
    made = plan("""
groups.inner = ["a", "b"]
groups.outer = ["group:inner", "b", "c"]
groups.none = []
[defaults]
run = "true"
[units.a]
[units.b]
[units.c]
[units.d]
after = [{ unit = "group:outer", requires = "completion" }, "group:none"]
[units.e]
before = ["group:inner"]
""")
    assert needs(made) == {
        "a": {Need("e", SUCCESS)},
        "b": {Need("e", SUCCESS)},
        "c": set(),
        "d": {Need("a", COMPLETION), Need("b", COMPLETION), Need("c", COMPLETION)},
        "e": set(),
    }
    assert len(made.units["d"].needs) == 3


def test_the_same_dependency_said_twice_is_one(plan):
    made = plan('[units.a]\nrun = "x"\nbefore = ["b"]\n[units.b]\nrun = "x"\nafter = ["a", { unit = "a" }]\n')
    assert made.units["b"].needs == (Need("a", SUCCESS),)


def test_a_phase_is_a_plan_of_its_own(plan):
    made = plan("""
[units.install]
run = "x"
[units.report]
run = "x"
after = [{ unit = "install", requires = "completion" }]
phase = "stop"
[units.mail]
run = "x"
after = ["report"]
phase = "stop"
""")
    assert made.phases == ("start", "stop")
    assert made.agents == ()
    assert made.graph().edge_label("report", "install") is COMPLETION
    assert needs(made.of_phase("start")) == {"install": set()}
    assert needs(made.of_phase("stop")) == {"report": set(), "mail": {Need("report", SUCCESS)}}


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        ('run = "make all"', ["/bin/sh", "-c", "make all"]),
        ('run = "make all"\nshell = "/bin/bash"', ["/bin/bash", "-c", "make all"]),
        ('run = ["make", "all"]\nshell = "/bin/bash"', ["make", "all"]),
        (
            "run = '''\n#!/usr/bin/env python3\nprint()'''",
            ["/usr/bin/env", "python3", "-c", "#!/usr/bin/env python3\nprint()"],
        ),
        ("run = '''\n#!/bin/dash\nls'''\nshell = \"/bin/bash\"", ["/bin/bash", "-c", "#!/bin/dash\nls"]),
        ('run = "#!"', ["/bin/sh", "-c", "#!"]),
    ],
)
def test_what_is_executed(plan, keys, command):
    assert plan(f"[units.a]\n{keys}\n").units["a"].command == command


def test_a_file_of_windows_and_one_that_is_no_text(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_bytes(b'\xef\xbb\xbf[units.a]\r\nrun = """\r\na\r\nb"""\r\n[units.b]\r\nrun = "x"\r\n')
    assert (load(path).units["a"].run, load(path).place("b")) == ("a\nb", (str(path), 5))
    path.write_bytes(b'[units.a]\nrun = "\xff"\n')
    with pytest.raises(PlanError, match=r"plan\.toml:2: this is not UTF-8$"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.toml")


def test_arrays_within_arrays_without_end(plan):
    with pytest.raises(PlanError, match="nested too deeply"):
        plan(f"a = {'[' * 100_000}")


def test_the_line_of_a_name_as_only_newer_toml_has_it(plan):
    text = '[units.a]\nrun = "true"\n[units."\\x41"]\nrun = "true"\n'
    try:
        loads(text)
    except TOMLDecodeError:
        pytest.skip("the parser that is installed knows TOML 1.0 only")
    assert plan(text).place("A")[1] == 3


def test_hints_end_where_a_large_plan_misspells_everything(plan):
    units = "".join(f'[units.unit-{number}]\nrun = "x"\nafter = ["uint-{number}"]\n' for number in range(3000))
    with pytest.raises(PlanError) as raised:
        plan(units)
    hinted = ["did you mean" in problem.message for problem in raised.value.problems]
    assert (len(hinted), sum(hinted)) == (3000, 20)


@pytest.mark.parametrize("seed", range(200))
def test_the_order_against_graphlib(plan, seed):
    choose = random.Random(seed)
    names = [f"u{number}" for number in range(choose.randint(1, 8))]
    text, edges = "", set()
    for name in names:
        keys = {"after": [], "before": []} if seed % 2 else {"after": []}  # which is read in another way
        for key, entries in keys.items():
            for other in choose.sample(names, choose.randint(0, min(2, len(names)))):
                if other != name:
                    entries.append(other)
                    edges.add((name, other) if key == "after" else (other, name))
        text += f'[units.{name}]\nrun = "x"\n' + "".join(f"{key} = {entries}\n" for key, entries in keys.items())
    try:
        order = list(TopologicalSorter({name: {b for a, b in edges if a == name} for name in names}).static_order())
    except CycleError:
        with pytest.raises(PlanError) as raised:
            plan(text)
        for problem in raised.value.problems:
            path = [word.strip("'") for word in problem.message.removeprefix("cycle: ").split(" after ")]
            assert path[0] == path[-1]
            assert {*pairwise(path)} <= edges
        return
    made = plan(text)
    assert {(name, need.unit) for name, unit in made.units.items() for need in unit.needs} == edges
    assert set(order) == set(made.units)


@pytest.mark.parametrize("more", ["", "before = []"])
def test_a_name_that_comes_twice_counts_once(plan, more):
    made = plan(f'[units.a]\nrun = "x"\n[units.b]\nrun = "x"\nafter = ["a", "a"]\n{more}')
    assert made.units["b"].needs == (Need("a", SUCCESS),)


# --- lines ------------------------------------------------------------------------------------------------------------


class Writer:
    """Writes a random document in TOML, and notes the line of every value."""

    def __init__(self, seed):
        self.choose = random.Random(seed)
        self.text = ""
        self.lines = {}

    def document(self):
        self.pairs((), self.choose.randint(0, 3))
        for number in range(self.choose.randint(0, 4)):
            self.blank()
            name = f"t{number}"
            if self.choose.random() < 0.3:
                for index in range(self.choose.randint(1, 3)):
                    self.lines.setdefault((name,), self.line)
                    self.lines[name, index] = self.line
                    self.text += f"[[{name}]]{self.end()}"
                    self.pairs((name, index), self.choose.randint(0, 2))
                    if self.choose.random() < 0.5:
                        self.lines[name, index, "sub"] = self.line
                        self.text += f"[{name}.sub]{self.end()}"
                        self.pairs((name, index, "sub"), 1)
            else:
                self.lines[name, "x y"] = self.line
                self.text += f'[ {name} . "x y" ]{self.end()}'
                self.pairs((name, "x y"), self.choose.randint(0, 4))
        return self.text

    @property
    def line(self):
        return self.text.count("\n") + 1

    def end(self):
        return self.choose.choice(["\n", " # [x] = \"'\n", "\t\n\n"])

    def blank(self):
        self.text += self.choose.choice(["", "\n", "  ", "# '''\n", "\t# a = [\n"])

    def key(self):
        number = len(self.lines)
        return self.choose.choice(
            [
                (f"k{number}", f"k{number}"),
                (f'"k{number}.\\""', f'k{number}."'),
                (f"'k{number} ='", f"k{number} ="),
            ]
        )

    def pairs(self, path, count):
        for _ in range(count):
            self.blank()
            self.pair(path, 0)
            self.text += self.end()

    def pair(self, path, depth):
        written, key = self.key()
        self.lines[*path, key] = self.line
        if self.choose.random() < 0.2:
            self.text += f"{written} . sub = "
            path, key = (*path, key), "sub"
            self.lines[*path, key] = self.line
        else:
            self.text += f"{written}{self.choose.choice(['=', ' = '])}"
        self.value((*path, key), depth)

    def value(self, path, depth):
        kind = self.choose.randrange(10)
        if kind > 7 and depth < 3:
            self.text += "{"
            count = self.choose.randint(0, 2)
            for number in range(count):
                self.pair(path, depth + 1)
                self.text += ", " if number < count - 1 else " "
            self.text += "}"
        elif kind > 5 and depth < 3:
            self.text += "["
            for number in range(self.choose.randint(0, 3)):
                self.text += self.choose.choice(["", "\n  ", " # ]\n"])
                self.lines[*path, number] = self.line
                self.value((*path, number), depth + 1)
                self.text += self.choose.choice([",", " ,\n"])
            self.text += "]"
        else:
            self.text += self.choose.choice(
                [
                    '"a # ] } = \\" \\\\"',
                    "'a [ { \\'",
                    '"""\na " "" \\""" = [\n]"""',
                    "'''x\n''\n[t]\n'''",
                    '""""q"""""',
                    '""',
                    "''",
                    "-1_000",
                    "true",
                    "1.5e3",
                    "1979-05-27 07:32:00",
                    "07:32:00",
                ]
            )


@pytest.mark.parametrize("seed", range(300))
def test_the_lines_of_a_random_document(seed):
    writer = Writer(seed)
    text = writer.document()
    tomllib.loads(text)  # or the writer is wrong
    lines = Lines(text)
    paths = list(writer.lines)
    random.Random(seed).shuffle(paths)
    assert {path: lines.of(path) for path in paths} == writer.lines, text
    assert lines.of(()) == 1
    for path in paths:
        assert lines.of((*path, "no such thing", 7)) == writer.lines[path]
