"""What has been said so far: turns, each made of pieces that are tokenised by themselves.

    raw text     one turn without a role
    a chat       turns of `system`, `user` and `assistant`, in the form the model was trained on

A piece is text that the program wrote, or what the model answered (its tokens are known then, and
are not made anew from the text).  Text written in a row is one piece.  A piece ends where the model
goes on and where a fork begins, so that branches share every token of what they have in common.

>>> said = Transcript()
>>> said.write("one "), said.write("two ")
(None, None)
>>> branch = said.copy()
>>> branch.write("three")
>>> [piece.text for piece in branch.turns[0].pieces], said.text
(['one two ', 'three'], 'one two ')
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from refimpl.errors import InputError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Text, and its tokens where they are known."""

    text: str
    tokens: tuple[int, ...] | None = None
    sealed: bool = False  # nothing is added to it any more
    is_answer: bool = False  # by the model: what looks like a marker in it is only text


@dataclass(kw_only=True)
class Turn:
    """What one role says; `role` is None outside a chat."""

    role: Role | None
    pieces: list[Piece] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


class Transcript:
    """Turns in order; the last one is still open."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    @property
    def is_chat(self) -> bool:
        return bool(self.turns) and self.turns[0].role is not None

    @property
    def open(self) -> Turn:
        """The turn that is written to: after a user has spoken, still the user's."""
        if not self.turns:
            self.turns.append(Turn(role=None))
        return self.turns[-1]

    def begin(self, role: Role) -> None:
        if self.turns and not self.is_chat:
            raise InputError(f"text was written before the {role} spoke: begin with a role or none")
        self.turns.append(Turn(role=role))

    def write(self, text: str) -> None:
        pieces = self.open.pieces
        if pieces and not pieces[-1].sealed:
            text = pieces.pop().text + text
        if text:
            pieces.append(Piece(text=text))

    def answer(self, text: str, tokens: tuple[int, ...] | None) -> None:
        """What the model said.  Without tokens it will be tokenised as text."""
        self.seal()
        self.open.pieces.append(Piece(text=text, tokens=tokens, sealed=True, is_answer=True))

    def seal(self) -> None:
        """End the last piece."""
        pieces = self.turns[-1].pieces if self.turns else []
        if pieces:
            pieces[-1] = replace(pieces[-1], sealed=True)

    def copy(self) -> "Transcript":
        """A branch: whatever is written to it, this one does not change."""
        self.seal()
        branch = Transcript()
        branch.turns = [Turn(role=turn.role, pieces=list(turn.pieces)) for turn in self.turns]
        return branch

    @property
    def mark(self) -> tuple[int, int]:
        """How much has been said, in turns and in pieces of the last."""
        return len(self.turns), len(self.turns[-1].pieces) if self.turns else 0

    def since(self, mark: tuple[int, int]) -> str:
        """The text that was added after a mark, whoever said it."""
        n_turns, n_pieces = mark
        last = self.turns[n_turns - 1].pieces[n_pieces:] if n_turns else []
        return "".join(p.text for p in last) + "".join(turn.text for turn in self.turns[n_turns:])

    @property
    def text(self) -> str:
        """Everything, for a person to read."""
        if not self.is_chat:
            return "".join(turn.text for turn in self.turns)
        return "\n".join(f"{turn.role}: {turn.text}" for turn in self.turns)

    @property
    def spoken(self) -> list[dict[str, object]]:
        """The turns before the answer that is being given: the messages of a chat."""
        closed = self.turns[:-1] if self.open.role == "assistant" else self.turns
        return [{"role": turn.role, "content": turn.text} for turn in closed]

    @property
    def begun(self) -> list[Piece]:
        """The pieces of the answer that is being given; outside a chat, of the whole text."""
        return self.open.pieces if self.open.role in (None, "assistant") else []
