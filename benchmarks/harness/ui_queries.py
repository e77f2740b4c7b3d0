"""The GraphQL documents that Dagster's own pages send, as the installed web server ships them in its scripts."""

from __future__ import annotations

import functools
import re
from importlib.util import find_spec
from pathlib import Path

from graphql import (
    FragmentDefinitionNode,
    FragmentSpreadNode,
    Node,
    OperationDefinitionNode,
    Visitor,
    parse,
    print_ast,
    visit,
)

# The minifier leaves a GraphQL template as one string literal that begins with a line break.
TEMPLATE = re.compile(r"""(["'])(?P<text>(?:\\n|\s)+(?:query|mutation|fragment) \w(?:\\.|(?!\1)[^\\])*)\1""")


def ui_query(operation: str) -> str:
    """Return the document of one of the UI's operations, with the fragments that it spreads."""
    definitions = _definitions()
    wanted, document = [operation], {}
    while wanted:
        name = wanted.pop()
        if name not in document:
            document[name] = definitions[name]
            wanted.extend(_spread_in(definitions[name]))
    return "\n".join(print_ast(definition) for definition in document.values())


@functools.cache
def _definitions() -> dict[str, OperationDefinitionNode | FragmentDefinitionNode]:
    spec = find_spec("dagster_webserver")
    assert spec is not None
    assert spec.origin is not None
    scripts = Path(spec.origin).parent.glob("webapp/build/_next/static/chunks/**/*.js")
    found = (match["text"] for script in scripts for match in TEMPLATE.finditer(script.read_text("utf-8")))
    return {
        definition.name.value: definition
        for template in found
        for definition in parse(template.replace("\\n", "\n").replace('\\"', '"')).definitions
        if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode) and definition.name
    }


def _spread_in(definition: Node) -> list[str]:
    names: list[str] = []

    class Spreads(Visitor):
        def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
            names.append(node.name.value)

    visit(definition, Spreads())
    return names
