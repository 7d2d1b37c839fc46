"""What stands in a scenario, checked against its model, with each mistake at its place."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from gateway.config.explain import explain
from gateway.config.fields import Section
from gateway.config.yaml_file import Node
from gateway.errors import ConfigError

T = TypeVar("T", bound=Section)
_OURS = Path(__file__).parents[1]
Where = tuple[str | int, ...]


def validated(model: type[T], node: Node, where: Where, errors: list[ConfigError]) -> T | None:
    """None where it is wrong; the mistakes are then among `errors`."""
    try:
        return model.model_validate(node.plain())
    except ValidationError as exc:
        errors.extend(explain(exc, model, node, where))
        return None


def at(tree: Node, where: Where) -> Node | None:
    """What stands at this place; None where nothing does."""
    node: Node | None = tree
    for step in where:
        if node is None:
            return None
        if isinstance(step, int):
            items = node.value if isinstance(node.value, list) else []
            node = items[step] if step < len(items) else None
        else:
            node = node.get(step)
    return node


def comes_along(tree: Node, where: Where) -> bool:
    """Whether what stands there is in a scenario of ours: it is for any plant, and what it names need not be there."""
    return Path(tree.find(where, key=True).source.name).resolve().is_relative_to(_OURS)


def mistake_at(tree: Node, where: Where, message: str, hint: str = "", *, key: bool = False) -> ConfigError:
    """`key`: the key is meant, not its value."""
    return tree.find(where, key=key).error(message, hint, ".".join(map(str, where)))
