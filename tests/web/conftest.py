"""What the tests of the pages share."""

from web.pages.looking import board, browser, served, sources  # noqa: F401
