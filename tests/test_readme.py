"""What the README says is what the code does."""

from __future__ import annotations

import re
import tomllib

from nodes.registry import NODE_TYPES
from nodes.transport.streams import markdown_table
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_table_of_streams_is_the_code_s() -> None:
    between = README.split("<!-- streams: begin -->")[1].split("<!-- streams: end -->")[0]
    assert between.strip() == markdown_table()


def test_the_extras_that_are_named_exist() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"`(\w+)`", README.split("Extras:")[1].split("\n\n")[0])) - {"all"}
    assert named <= set(project["optional-dependencies"])


def test_the_graph_in_the_readme_uses_known_nodes() -> None:
    graph = README.split("```yaml")[1].split("```")[0]
    types = set(re.findall(r"type: (\w+)", graph))
    assert types
    assert types <= set(NODE_TYPES)


def test_files_that_are_pointed_to_exist() -> None:
    for path in re.findall(r"`((?:docs|scripts|graphs)/[\w./-]+)`|\((docs/[\w./-]+)\)", README):
        name = next(part for part in path if part)
        assert (REPOSITORY / name).exists(), name
