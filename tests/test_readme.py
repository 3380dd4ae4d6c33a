"""The examples in README.md run, in order, and print what is shown below each."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE
)


def test_every_python_block_shows_its_output():
    assert README.read_text("utf-8").count("```python\n") == len(EXAMPLES) >= 2


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=range(1, len(EXAMPLES) + 1))
def test_an_example_prints_what_is_shown(code: str, shown: str):
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    assert printed.getvalue() == shown
