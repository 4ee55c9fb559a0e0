# SPDX-License-Identifier: Apache-2.0
"""Up to where everything of one file is acknowledged. Pure; acknowledgements may come in any order."""

from typing import Protocol


class Span(Protocol):
    """A range of the file that is on its way; `done` is set once nothing of it can be lost any more."""

    start_offset: int
    end_offset: int
    done: bool


class Gap:
    """A range that nothing has been made of yet, although what is behind it is on its way."""

    __slots__ = ("done", "end_offset", "start_offset")

    def __init__(self, start_offset: int, end_offset: int, done: bool = False) -> None:
        self.start_offset = start_offset
        self.end_offset = end_offset
        self.done = done


class AckTracker:
    """The spans of one file between its position and what has been read, oldest first. Where one is missing there is a
    `Gap` in its place.
    """

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
        """Note a span; it must begin where the last one ended, or where a gap begins, which then becomes smaller."""
        spans = self._spans
        end_offset = spans[-1].end_offset if spans else self.acked_offset
        if span.start_offset != end_offset:
            self._fill(span, end_offset)
        else:
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
        if not self._spans or self._spans[-1] is not span or self.gaps:
            return False
        self._spans.pop()
        return True

    @property
    def gaps(self) -> list[Gap]:
        """What nothing has been made of yet, although what is behind it is on its way."""
        return [span for span in self._spans if isinstance(span, Gap) and not span.done]

    def _fill(self, span: Span, expected_offset: int) -> None:
        for gap in self.gaps:
            if gap.start_offset == span.start_offset and span.end_offset <= gap.end_offset:
                self._spans.insert(self._spans.index(gap), span)
                gap.start_offset = span.end_offset
                if gap.start_offset == gap.end_offset:
                    self._spans.remove(gap)
                return
        raise ValueError(f"span begins at {span.start_offset}, expected {expected_offset}")
