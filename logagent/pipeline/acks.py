# SPDX-License-Identifier: Apache-2.0
"""Up to where everything of one file is acknowledged. Pure; acknowledgements may come in any order."""

from typing import Protocol


class Span(Protocol):
    """A range of the file that is on its way; `done` is set once nothing of it can be lost any more."""

    start_offset: int
    end_offset: int
    done: bool


class AckTracker:
    """The spans of one file between its position and what has been read, oldest first, without gaps."""

    __slots__ = ("_spans", "acked_offset")

    def __init__(self, offset: int) -> None:
        self.acked_offset = offset
        self._spans: list[Span] = []

    @property
    def pending(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._spans)

    @property
    def end_offset(self) -> int:
        """The end of what is on its way, or the position."""
        return self._spans[-1].end_offset if self._spans else self.acked_offset

    def add(self, span: Span) -> None:
        """Note a span; it must begin where the last one ended."""
        spans = self._spans
        end_offset = spans[-1].end_offset if spans else self.acked_offset
        if span.start_offset != end_offset:
            raise ValueError(f"span begins at {span.start_offset}, expected {end_offset}")
        spans.append(span)
        if span.done:
            self.advance()

    def advance(self) -> bool:
        """Move the position over the finished spans at the front; True if it moved."""
        spans = self._spans
        finished = 0
        while finished < len(spans) and spans[finished].done:
            finished += 1
        if not finished:
            return False
        before, self.acked_offset = self.acked_offset, spans[finished - 1].end_offset
        del spans[:finished]
        return self.acked_offset != before

    def replace(self, span: Span, parts: tuple[Span, ...]) -> None:
        """Put the parts of a span that was cut in its place; together they cover just its range."""
        index = self._spans.index(span)
        self._spans[index : index + 1] = parts

    def take_back(self, span: Span) -> bool:
        """Forget the last span, because it will be read again; False (and no change) if it is not the last."""
        if not self._spans or self._spans[-1] is not span:
            return False
        self._spans.pop()
        return True
