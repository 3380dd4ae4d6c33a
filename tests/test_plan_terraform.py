"""Plans from Terraform: the JSON of plans and states, and `.tf` files, which have to say the same."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastdag import Requirement
from fastdag.plan import Need, PlanError, load
from fastdag.plan.scripts import ASK_TERRAFORM, Step, parse_module
from fastdag.plan.terraform import load_json

PLANS = Path(__file__).parent / "plans"
SUCCESS, COMPLETION = Requirement.SUCCESS, Requirement.COMPLETION

needs_hcl = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import hcl2"], capture_output=True, check=False).returncode != 0,
    reason="NOT TESTED with .tf files: the extra [terraform] is not installed",
)


def workspace():
    return json.loads((PLANS / "workspace.json").read_text("utf-8"))


def short(name):
    """Give the name that a script of the example has in TOML."""
    return re.search(r'\["(.*)"\]$', name)[1] if name.endswith("]") else name.rpartition(".")[2]


def graph(plan, rename=str):
    return {
        rename(name): (unit.phase, {(rename(need.unit), need.requires) for need in unit.needs})
        for name, unit in plan.units.items()
    }


def edges(plan):
    return {(name, need.unit) for name, unit in plan.units.items() for need in unit.needs}


def problems(raised):
    return [problem.message for problem in raised.value.problems]


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_the_workspace_in_toml_and_in_json_is_the_same():
    assert graph(load(PLANS / "workspace.json"), short) == graph(load(PLANS / "workspace.toml"))


def test_what_a_script_is():
    plan = load(PLANS / "workspace.json")
    assert plan.agents == ("coder_agent.main",)
    unit = plan.units['module.tools.coder_script.tool["node"]']
    assert (unit.title, unit.timeout, unit.phase) == ("Install node", 600.0, "start")
    assert unit.run == "curl -fsSL https://example.com/node.sh | sh -s -- --prefix ~/.local"
    assert unit.needs == (Need("coder_script.home", SUCCESS),)
    line = (PLANS / "workspace.json").read_text("utf-8").splitlines()[plan.place(unit.name)[1] - 1]
    assert json.loads(f"{{{line.rstrip(',')}}}") == {"address": unit.name}
    assert plan.units["module.database[0].coder_script.dump"].timeout is None
    assert plan.units["coder_script.dotfiles"].command[:3] == ["/usr/bin/env", "bash", "-c"]
    assert "coder_script.nightly" not in plan.units


def state_of(document):
    """Make the state that is there once a plan was applied."""

    def apply(module, read):
        resources = [*copy.deepcopy(module.get("resources", [])), *read.get(module.get("address", ""), [])]
        for resource in resources:
            if resource["type"] == "coder_script":
                resource["values"] |= {"agent_id": "b5c0", "id": "x"}
            if resource["type"] == "coder_agent":
                resource["values"]["id"] = "b5c0"
        children = [apply(child, read) for child in module.get("child_modules", [])]
        return {**module, "resources": resources, "child_modules": children}

    prior = document["prior_state"]["values"]["root_module"]
    read = {module["address"]: module["resources"] for module in prior["child_modules"]}
    read[""] = [each for each in prior["resources"] if each["name"] != "removed"]
    root = apply(document["planned_values"]["root_module"], read)
    return {"format_version": "1.0", "terraform_version": "1.11.4", "values": {"root_module": root}}


def test_a_state_says_the_same_as_its_plan():
    plan = load(PLANS / "workspace.json")
    state = load_json("state.json", json.dumps(state_of(workspace())))
    assert graph(state) == graph(plan)
    assert {unit.agent for unit in state.units.values()} == {"coder_agent.main"}
    assert {state.place(name)[1] for name in state.units} == {1}  # as Terraform writes it


def script(name, module="", key=None, references=("coder_agent.main.id", "coder_agent.main"), **values):
    """Give an instance and its declaration."""
    index = {} if key is None else {"index": key}
    shown = "" if key is None else f"[{json.dumps(key)}]"
    instance = {
        "address": f"{module}coder_script.{name}{shown}",
        "mode": "managed",
        "type": "coder_script",
        "name": name,
        **index,
        "values": {"display_name": name, "run_on_start": True, "script": "true", "timeout": 0, **values},
    }
    return instance, declaration("coder_script", name, references)


def declaration(kind, name, references=(), mode="managed"):
    return {
        "mode": mode,
        "type": kind,
        "name": name,
        "expressions": {"agent_id": {"references": list(references)}},
    }


def agent(name="main", key=None, **values):
    shown = "" if key is None else f"[{json.dumps(key)}]"
    return {
        "address": f"coder_agent.{name}{shown}",
        "mode": "managed",
        "type": "coder_agent",
        "name": name,
        "values": values,
    }


def order(*rules, name="startup", module=""):
    return {
        "address": f"{module}data.coder_script_order.{name}",
        "mode": "data",
        "type": "coder_script_order",
        "name": name,
        "values": {"rule": list(rules)},
    }


def rule(run, after, requires=None, phase=None):
    return {"run": run, "after": after, "requires": requires, "phase": phase}


def read(scripts, rules, agents=None, calls=(), children=(), others=(), prior=()):
    """Read a plan with these scripts in its root module; a call is (name, arguments, declaration of the module)."""
    declared = [each for _, each in scripts] + [declaration("coder_script_order", "startup", mode="data")]
    declared += [declaration("coder_script", name) for name in others]
    return load_json(
        "plan.json",
        json.dumps(
            {
                "format_version": "1.2",
                "planned_values": {
                    "root_module": {
                        "resources": [*([agent()] if agents is None else agents), *(each for each, _ in scripts)],
                        "child_modules": list(children),
                    }
                },
                "prior_state": {
                    "values": {"root_module": {"resources": [*prior, *([order(*rules)] if rules else [])]}}
                },
                "configuration": {
                    "root_module": {
                        "resources": declared,
                        "module_calls": {
                            name: {
                                "expressions": {key: {"references": value} for key, value in arguments.items()},
                                "module": module,
                            }
                            for name, arguments, module in calls
                        },
                    }
                },
            }
        ),
    )


def test_selectors_of_instances():
    scripts = [script("work", key=0), script("work", key=1), script("tool", key="a b"), script("tool", key='q"')]
    plan = read(scripts, [rule(['coder_script.tool["a b"]'], ["coder_script.work[1]"])])
    assert edges(plan) == {('coder_script.tool["a b"]', "coder_script.work[1]")}
    plan = read(scripts, [rule(['coder_script.tool["q\\""]'], ["coder_script.work"], "completion")])
    assert edges(plan) == {('coder_script.tool["q\\""]', f"coder_script.work[{number}]") for number in (0, 1)}
    assert {need.requires for unit in plan.units.values() for need in unit.needs} == {COMPLETION}


def test_selectors_may_be_one_text():
    assert len(edges(read([script("a"), script("b")], [rule("coder_script.a", "coder_script.b")]))) == 1


def test_what_is_declared_and_has_no_instances_asks_for_nothing():
    calls = [("empty", {}, {})]
    for other in ("coder_script.none", "module.empty"):
        plan = read([script("a")], [rule(["coder_script.a"], [other])], calls=calls, others=["none"])
        assert edges(plan) == set()
    with pytest.raises(PlanError, match=r"there is no coder_script\.none\[0\]; did you mean 'coder_script\.none'"):
        read([script("a")], [rule(["coder_script.a"], ["coder_script.none[0]"])], others=["none"])


def module(address, *scripts, orders=(), children=()):
    return {
        "address": address,
        "resources": [*(each for each, _ in scripts), *orders],
        "child_modules": list(children),
    }


def test_a_module_is_all_that_is_in_it_and_its_rules_are_its_own():
    inner = "module.m[0].module.deep."
    down = script("down", inner, references=["var.agent"], run_on_start=False, run_on_stop=True)
    deep = module("module.m[0].module.deep", script("x", inner, references=["var.agent"]), down)
    shallow = [script(name, "module.m[0].", references=["var.id"]) for name in ("x", "y")]
    own = order(rule(["coder_script.y"], ["coder_script.x", "module.deep"]), module="module.m[0].", name="own")
    resources = [declaration("coder_script", name, ["var.id"]) for name in ("x", "y")]
    deeper = {"resources": [declaration("coder_script", name, ["var.agent"]) for name in ("x", "down")]}
    arguments = {"agent": {"references": ["var.id"]}}
    m = {
        "resources": [*resources, declaration("coder_script_order", "own", mode="data")],
        "module_calls": {"deep": {"expressions": arguments, "module": deeper}},
    }
    calls = [("m", {"id": ["coder_agent.main.id", "coder_agent.main"]}, m)]
    children = [module("module.m[0]", *shallow, orders=[own], children=[deep])]
    plan = read([script("x")], [rule(["coder_script.x"], ["module.m"])], calls=calls, children=children)
    assert edges(plan) == {
        ("coder_script.x", "module.m[0].coder_script.x"),
        ("coder_script.x", "module.m[0].coder_script.y"),
        ("coder_script.x", "module.m[0].module.deep.coder_script.x"),
        ("module.m[0].coder_script.y", "module.m[0].coder_script.x"),
        ("module.m[0].coder_script.y", "module.m[0].module.deep.coder_script.x"),
    }
    assert plan.agents == ("coder_agent.main",)
    ending = 'only the scripts of phase start are meant; say so with phase = "start"'
    assert [warning.message for warning in plan.warnings] == [
        f"data.coder_script_order.startup, rule 0: of module.m {ending}",
        f"module.m[0].data.coder_script_order.own, rule 0: of module.deep {ending}",
    ]


def test_a_phase_that_is_given_chooses_from_modules_without_a_warning():
    up = script("up", "module.m.", references=["var.id"])
    down = script("down", "module.m.", references=["var.id"], run_on_start=False, run_on_stop=True)
    calls = [("m", {"id": ["coder_agent.main.id", "coder_agent.main"]}, {"resources": [up[1], down[1]]})]
    stop = script("log", run_on_start=False, run_on_stop=True)
    plan = read(
        [stop],
        [rule(["coder_script.log"], ["module.m"], phase="stop")],
        calls=calls,
        children=[module("module.m", up, down)],
    )
    assert edges(plan) == {("coder_script.log", "module.m.coder_script.down")}
    assert plan.warnings == ()


def test_a_script_of_both_phases_is_two_units():
    plan = read([script("a", run_on_stop=True)], [])
    assert {name: unit.phase for name, unit in plan.units.items()} == {
        "coder_script.a": "start",
        "coder_script.a (stop)": "stop",
    }


def test_agents_are_found_through_outputs_and_devcontainers_and_counts():
    devcontainer = {**agent("repo"), "type": "coder_devcontainer", "address": "coder_devcontainer.repo"}
    agents = [agent("main", 0), agent("main", 1), devcontainer]
    output = {"outputs": {"id": {"expression": {"references": ["coder_agent.main[1].id", "coder_agent.main[1]"]}}}}
    scripts = [
        script("a", references=["module.m.id", "module.m"]),
        script("b", references=["coder_devcontainer.repo.subagent_id", "coder_devcontainer.repo"]),
        script("c", key=0, references=["coder_agent.main", "count.index"]),
        script("d", references=["coder_agent.main[0].id", "coder_agent.main[0]", "coder_agent.main"]),
    ]
    plan = read(scripts, [], agents=agents, calls=[("m", {}, output)])
    assert [unit.agent for unit in plan.units.values()] == [
        "module.m.coder_agent.main[1]",
        "coder_devcontainer.repo",
        "coder_agent.main[0]",
        "coder_agent.main[0]",
    ]


def test_an_agent_behind_a_local_is_the_only_one_or_unknown():
    scripts = [script(name, references=["local.agent"]) for name in ("a", "b")]
    rules = [rule(["coder_script.a"], ["coder_script.b"])]
    assert read(scripts, rules).agents == ("coder_agent.main",)
    assert read(scripts, rules, prior=[agent("removed")]).agents == ("coder_agent.main",)
    with pytest.raises(PlanError) as raised:
        read(scripts, rules, agents=[agent("main"), agent("gpu")])
    assert problems(raised) == [
        "data.coder_script_order.startup, rule 0: which agent runs coder_script.a cannot be told; pass the state's JSON"
    ]


def test_an_agent_that_is_there_already_is_known_by_its_id():
    scripts = [script("a", agent_id="1", references=["local.x"]), script("b", agent_id="2", references=["local.x"])]
    agents = [agent("main", id="1"), agent("gpu", id="2")]
    assert read(scripts, [], agents=agents).agents == ("coder_agent.main", "coder_agent.gpu")


def test_a_plan_that_terraform_gave_up_is_refused():
    with pytest.raises(PlanError, match="Terraform ended this plan with an error"):
        load_json("plan.json", json.dumps({**workspace(), "errored": True}))


def all_paths(value, path=()):
    yield path
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from all_paths(each, (*path, key))


ODD = [None, 3, -1.5, True, "x", "module.x", "coder_agent.b.id", [], [None], ["x"], {}, {"a": 1}]


@pytest.mark.parametrize("seed", range(20))
def test_json_that_is_not_as_terraform_writes_it_is_a_plan_or_a_problem(seed):
    choose = random.Random(seed)
    document = workspace()
    paths = [path for path in all_paths(document) if path]
    for _ in range(20):
        broken = copy.deepcopy(document)
        path = choose.choice(paths)
        holder = broken
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = choose.choice(ODD)
        with contextlib.suppress(PlanError):
            load_json("plan.json", json.dumps(broken))


@pytest.mark.parametrize("text", ["[]", '"x"', "{}", '{"format_version": "2.0", "values": {}}', '{"a": NaN}'])
def test_other_json(text):
    with pytest.raises(PlanError, match=r"^plan\.json:1: this is not the output of `terraform show -json`: "):
        load_json("plan.json", text)


@pytest.mark.parametrize("odd", ["\0", "\ud800"])
def test_characters_that_no_process_can_be_given(odd):
    with pytest.raises(PlanError, match=r"coder_script\.a: script holds a character that no command may$"):
        read([script("a", script=f"echo {odd}")], [])


def test_half_a_character_in_an_address_can_be_shown():
    with pytest.raises(PlanError) as raised:
        read([script("a", key="\ud800")], [])
    assert problems(raised) == ['coder_script.a["\\ud800"]: an address cannot hold control characters']


def test_json_nested_without_end():
    with pytest.raises(PlanError, match="nested too deeply"):
        load_json("plan.json", "[" * 1_000_000)


def test_addresses_of_modules():
    assert parse_module("") == ()
    assert parse_module('module.a[0].module.b["x.y"].module.c') == (Step("a", 0), Step("b", "x.y"), Step("c"))
    for wrong in ("a", "module.a[", "module.a..module.b", "module.a[x]"):
        with pytest.raises(ValueError, match="no address of a module"):
            parse_module(wrong)


# --- .tf files --------------------------------------------------------------------------------------------------------


@needs_hcl
def test_the_workspace_in_tf_files_and_in_json_is_the_same():
    folder, document = load(PLANS / "workspace"), load(PLANS / "workspace.json")
    assert graph(folder) == graph(document)
    for name, unit in document.units.items():
        other = folder.units[name]
        assert (other.title, other.run, other.agent, other.timeout) == (unit.title, unit.run, unit.agent, unit.timeout)
    place = folder.place("module.editors.module.jetbrains.coder_script.jetbrains")
    assert place == (str(PLANS / "workspace/modules/editors/jetbrains/main.tf"), 5)


@pytest.fixture
def folder(tmp_path):
    """Write files and read the plan that they are; `SCRIPT` becomes what every script has to have."""

    def make(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_tf", ".tf").replace("_vars", ".auto.tfvars")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("SCRIPT", REQUIRED), "utf-8")
        return load(tmp_path)

    return make


REQUIRED = """
  agent_id     = coder_agent.main.id
  display_name = "x"
  run_on_start = true
"""

EXPRESSIONS = [
    # What Terraform 1.11 gives for each, but for the words that are no text.
    (r'"b\tc \u00e9 \"q\" $${x} %%{y} $a %"', 'b\tc é "q" ${x} %{y} $a %'),
    ('"x${true}${1.5}"', "xtrue1.5"),
    ('"${"in ${"in"}"}"', "in in"),
    (
        '<<-EOT\n      one $${x}\n        two ${1 == 1 ? "yes" : "no"}\n\n      \tthree\n  EOT\n',
        "one ${x}\n  two yes\n\n\tthree\n",
    ),
    ('<<EOT\n  keep "quotes" \\n not escaped\nEOT\n', '  keep "quotes" \\n not escaped\n'),
    ('{ a = { "b c" = ["x", "two"] } }.a["b c"][1]', "two"),
    ('local.map["a"].b.0', "one"),
    ('!(true && false) || false ? "yes" : "no"', "yes"),
    ('1 == "1" ? "yes" : "no"', "no"),
    ('true == 1 ? "yes" : "no"', "no"),
    ('var.given != "default" ? var.given : "no"', "given"),
    ("-local.number", "-2.5"),
]


@needs_hcl
@pytest.mark.parametrize(("expression", "value"), EXPRESSIONS)
def test_expressions_that_are_known(folder, expression, value):
    plan = folder(
        main_tf=f"""
variable "given" {{
  default = "default"
}}
locals {{
  map    = {{ a : {{ b = ["one"] }} }}
  number = 2.5
}}
resource "coder_script" "a" {{ SCRIPT
  script = {expression}
}}
""",
        x_vars='given = "given"\n',
    )
    assert plan.units["coder_script.a"].run == value


@needs_hcl
@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ('file("a.sh")', "it calls file()"),
        ("coder_agent.main.init_script", "it refers to coder_agent.main.init_script"),
        ('"x ${coder_agent.main[0].token}"', "it refers to coder_agent.main[0].token"),
        ("data.coder_parameter.x.value", "it refers to data.coder_parameter.x.value"),
        ("module.m.out", "it refers to module.m.out"),
        ("path.module", "it refers to path.module"),
        ("each.key", "it refers to each.key"),
        ("var.none", "there is no var.none"),
        ("local.none", "there is no local.none"),
        ("local.map.b", "it asks for 'b' of what has no such thing"),
        ('"%{ if true }a%{ endif }"', "it has a template directive"),
        ("<<EOT\n%{ if true }a%{ endif }\nEOT\n", "it has a template of a kind that is not read"),
        ('<<EOT\n${file("a")}\nEOT\n', "it calls file()"),
        ("[for x in [1] : x][0]", "it has a for expression"),
        ("[1][*]", "it has a splat"),
        ('"${1 + 1}"', "it computes with +"),
        ("1 ? 2 : 3", "it has a condition that is neither true nor false"),
        ("( " * 1000 + "1" + " )" * 1000, "it is nested too deeply"),
    ],
)
def test_expressions_that_are_not_known_without_terraform(folder, expression, why):
    with pytest.raises(PlanError) as raised:
        folder(
            main_tf=f"""locals {{
  map = {{ a = 1 }}
}}
resource "coder_script" "a" {{ SCRIPT
  script = {expression}
}}
"""
        )
    assert problems(raised) == [f"coder_script.a: script is not known without Terraform ({why}); {ASK_TERRAFORM}"]
    assert raised.value.problems[0].line == 9


@needs_hcl
def test_instances_of_count_and_for_each_and_of_modules(folder):
    plan = folder(
        main_tf="""
module "m" {
  for_each = { a = "one", b = "two" }
  source   = "./m"
  agent    = coder_agent.main[0].id
  text     = each.value
}
module "later" {
  source = "./m"
  agent  = module.m["a"].agent
  text   = module.m["b"].text
}
resource "coder_script" "c" {
  count        = 2
  agent_id     = coder_agent.main[count.index].id
  display_name = "x"
  run_on_start = "true"
  timeout      = 1.5
  script       = "echo ${count.index}"
}
resource "coder_script" "none" { SCRIPT
  count  = 0
  script = "x"
}
""",
        m__main_tf="""
variable "agent" {}
variable "text" {}
resource "coder_script" "s" {
  for_each     = toset(["y", "x"])
  agent_id     = var.agent
  display_name = each.key
  run_on_start = true
  script       = "${var.text} ${each.value}"
}
output "agent" {
  value = var.agent
}
output "text" {
  value = "text of ${var.text}"
}
""",
    )
    assert {name: (unit.run, unit.agent, unit.timeout) for name, unit in plan.units.items()} == {
        "coder_script.c[0]": ("echo 0", "coder_agent.main[0]", 1.5),
        "coder_script.c[1]": ("echo 1", "coder_agent.main[1]", 1.5),
        'module.m["a"].coder_script.s["x"]': ("one x", "coder_agent.main[0]", None),
        'module.m["a"].coder_script.s["y"]': ("one y", "coder_agent.main[0]", None),
        'module.m["b"].coder_script.s["x"]': ("two x", "coder_agent.main[0]", None),
        'module.m["b"].coder_script.s["y"]': ("two y", "coder_agent.main[0]", None),
        'module.later.coder_script.s["x"]': ("text of two x", "coder_agent.main[0]", None),
        'module.later.coder_script.s["y"]': ("text of two y", "coder_agent.main[0]", None),
    }


@needs_hcl
def test_modules_from_elsewhere_are_read_where_terraform_put_them(folder, tmp_path):
    call = 'module "git" {\n  source = "registry.coder.com/coder/git-clone/coder"\n  version = "~> 1.0"\n}\n'
    with pytest.raises(PlanError, match=r"is not here; run `terraform init` first"):
        folder(main_tf=call)
    installed = tmp_path / ".terraform/modules"
    installed.mkdir(parents=True)
    listed = [{"Key": "", "Source": "", "Dir": "."}, {"Key": "git", "Source": "x", "Dir": ".terraform/modules/git"}]
    (installed / "modules.json").write_text(json.dumps({"Modules": listed}))
    plan = folder(
        **{".terraform__modules__git__main_tf": 'resource "coder_script" "clone" { SCRIPT\n  script = "x"\n}\n'}
    )
    assert list(plan.units) == ["module.git.coder_script.clone"]


@needs_hcl
def test_modules_that_ask_each_other_have_no_answer(folder):
    m = 'variable "x" {}\noutput "y" {\n  value = var.x\n}\n'
    calls = "".join(
        f'module "{name}" {{\n  source = "./m"\n  x = module.{other}.y\n}}\n' for name, other in ("ab", "ba")
    )
    with pytest.raises(PlanError, match=r"script is not known without Terraform \(var\.x refers to itself\)"):
        folder(main_tf=f'{calls}resource "coder_script" "a" {{ SCRIPT\n  script = module.a.y\n}}\n', m__main_tf=m)


@needs_hcl
def test_files_that_change_what_others_say_are_refused(folder, tmp_path):
    (tmp_path / "x_override.tf").write_text("")
    (tmp_path / "x.tf.json").write_text("{}")
    with pytest.raises(PlanError) as raised:
        folder(main_tf="")
    assert [Path(problem.file).name for problem in raised.value.problems] == ["x.tf.json", "x_override.tf"]


@needs_hcl
def test_a_folder_without_files(tmp_path):
    with pytest.raises(PlanError, match=r"there are no \.tf files here"):
        load(tmp_path)


@needs_hcl
def test_dynamic_rules_are_not_known(folder):
    with pytest.raises(
        PlanError, match=r":2: data\.coder_script_order\.x: dynamic blocks are not known without Terraform"
    ):
        folder(main_tf='data "coder_script_order" "x" {\n  dynamic "rule" {\n    for_each = []\n  }\n}\n')


def test_without_the_parser_the_command_says_what_to_install():
    code = (
        "import sys; sys.modules['hcl2'] = None; from fastdag.cli import run; "
        f"sys.exit(run(['plan', {str(PLANS / 'workspace')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = (
        "error: fastdag plan of .tf files needs the package hcl2; install it with: pip install 'fastdag[terraform]'\n"
    )
    assert (done.stderr, done.returncode) == (message, 1)
