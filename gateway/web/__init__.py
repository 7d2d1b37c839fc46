"""The status page: `snapshot` knows what it shows (pure), `server` brings it to a browser, `pages` are its files.

`gateway.web.server` imports Starlette and uvicorn, so it is imported only where a page is wanted.
"""

from gateway.web.snapshot import Board, Condition, Latest, Machine, State, Usage

__all__ = ["Board", "Condition", "Latest", "Machine", "State", "Usage"]
