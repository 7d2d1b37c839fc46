"""A small safe language for computed signals and for rules over the signals of machines. README.md is the language on one page.

    text ── parse ──▶ Expression ── check ──▶ its kind
            syntax        │         types and units of certain signals
                          └──────── program ──▶ Program ── run ──▶ value, quality
                                                what it remembers

    expression = parse("power / flow > 5 and mode == 'auto'")      ExpressionError: what, where in the text, what to do
    kind = expression.check(kind_of, names)                        the same for types and units
    program = expression.program()                                 for the signals it was checked for
    value, quality = program.run(values, qualities, now_ns)        of `expression.references`, in their order

| Module | Knows |
|---|---|
| `tokens`, `parser`, `tree`, `functions` | how it is written: words, strength of operators, what functions take |
| `check`, `parts`, `kinds` | what it means for certain signals: types, units, conversions |
| `flaws`, `arithmetic` | how values are worked out, and what becomes of those that are not good |
| `memory`, `windows` | what functions over time remember |
| `program` | `parse`, `check`, `run`, `dump` and `load` |
"""

from gateway.expressions.kinds import Kind
from gateway.expressions.mistakes import ExpressionError
from gateway.expressions.program import Expression, Program, parse
from gateway.expressions.tree import Reference

__all__ = ["Expression", "ExpressionError", "Kind", "Program", "Reference", "parse"]
