"""What is refused, and at which step."""

from __future__ import annotations

from typing import Literal

from gateway.errors import GatewayError

Step = Literal["fetch", "signature", "age", "files", "check", "place", "reload"]


class FleetError(GatewayError):
    """Nothing has changed. `step` tells how far it came; the text says what to do."""

    def __init__(self, step: Step, text: str) -> None:
        super().__init__(text)
        self.step = step
