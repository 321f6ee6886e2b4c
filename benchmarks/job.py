"""The one job that every contender does: builtins only, so that nobody is charged for an import."""

__all__ = ["EXPRESSION", "PRINT", "RESULT"]

EXPRESSION = "sum(n * n for n in range(100))"
RESULT = "328350"
PRINT = f"print(repr({EXPRESSION}))"
