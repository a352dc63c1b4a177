"""What a gradient check found, as a table that explains itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One tensor: the largest relative error found, and what is known about it."""

    name: str
    shape: tuple[int, ...]
    error: float
    ok: bool
    where: str = ""         # "only token 0"; "zero" for a gradient that is nothing but rounding
    cause: str = ""         # a sentence, if the error has a known pattern


@dataclass(repr=False)
class Report:
    """One row for each tensor, and one sentence for each law of the protocol that was broken."""

    title: str
    rows: list[Row]
    broken_laws: list[str]

    @property
    def ok(self) -> bool:
        """Everything is right, and there was something to be right about."""
        return bool(self.rows) and all(row.ok for row in self.rows) and not self.broken_laws

    def __getitem__(self, name: str) -> Row:
        return {row.name: row for row in self.rows}[name]

    def raise_if_failed(self) -> None:
        """AssertionError, with the table for its message, unless everything is right."""
        if not self.ok:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        wrong = [row for row in self.rows if not row.ok]
        lines = [f"gradients of {self.title}", "           error     shape"]
        for row in self.rows:
            shape = "×".join(map(str, row.shape)) or "scalar"
            verdict = "ok" if row.ok else "WRONG"
            place = f" ({row.where})" if row.where else ""
            lines.append(f"  {verdict:5}  {row.error:7.1e}  {shape:>8}  {row.name}{place}")
        for cause in dict.fromkeys(row.cause for row in wrong):
            names = ", ".join(row.name for row in wrong if row.cause == cause)
            lines.append(f"{cause or 'No known pattern'}:\n    {names}")
        lines += [f"Law broken: {law}" for law in self.broken_laws]
        lines.append(f"{len(self.rows) - len(wrong)} of {len(self.rows)} gradients right, "
                     f"{len(self.broken_laws) or 'no'} laws broken")
        return "\n".join(lines)

    __repr__ = __str__
