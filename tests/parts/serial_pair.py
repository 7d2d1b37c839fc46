"""Two serial ports that are joined, made by socat: what goes in at one end comes out at the other."""

from .process import Part, program


class SerialPair(Part):
    """Ports at the paths `a` and `b`; or with `tcp` one port `a`, joined to a server's port on this machine.

    Made of pseudo terminals, which know no parity: a client has to use none. Take a fresh pair for each test.
    """

    def __init__(self, tcp: int | None = None) -> None:
        super().__init__()
        self.tcp = tcp
        self.a, self.b = str(self.folder / "a"), str(self.folder / "b")

    def command(self) -> list[str]:
        other = f"tcp:127.0.0.1:{self.tcp}" if self.tcp else f"pty,raw,echo=0,link={self.b}"
        return [program("socat"), f"pty,raw,echo=0,link={self.a}", other]

    def ready(self) -> bool:
        ends = ["a"] if self.tcp else ["a", "b"]
        return all((self.folder / end).exists() for end in ends)
