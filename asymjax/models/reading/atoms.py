"""Atoms: what the axes of all values of a network are made of, joined where an operation ties them to each other.

An atom is a set of indices that a permutation may act on. Two joined atoms are one. An atom may turn out to be a
product of others (heads x dimensions, after a reshape) or a sum of others (gates of a cell, after a split), and then
only its parts are permuted. A pinned atom stays where it is. Pinning is always sound: it claims less.
"""

import math
from collections.abc import Sequence
from itertools import accumulate


class Atoms:
    """A union-find structure over atoms, with refinement; atoms are integers."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._size: list[int] = []
        self._is_pinned: list[bool] = []
        self._parts: list[tuple[str, tuple[int, ...]]] = []  # ("", ()), ("product", parts) or ("sum", parts)

    def new(self, size: int, is_pinned: bool = False) -> int:
        """Make an atom."""
        self._parent.append(len(self._parent))
        self._size.append(size)
        self._is_pinned.append(is_pinned)
        self._parts.append(("", ()))
        return len(self._parent) - 1

    def find(self, atom: int) -> int:
        """Return the one that stands for all that were joined with this."""
        while self._parent[atom] != atom:
            self._parent[atom] = atom = self._parent[self._parent[atom]]
        return atom

    def size(self, atom: int) -> int:
        """Return the number of indices."""
        return self._size[atom]

    def is_pinned(self, atom: int) -> bool:
        """Return whether no part of it may be permuted."""
        return self.size(atom) < 2 or all(self._is_pinned[self.find(leaf)] for leaf in self.leaves(atom))

    def kind(self, atom: int) -> str:
        """Return ``"product"``, ``"sum"``, or ``""`` of an atom without parts."""
        return self._parts[self.find(atom)][0]

    def leaves(self, atom: int) -> list[int]:
        """Return the atoms without parts that it consists of, in order."""
        _, parts = self._parts[self.find(atom)]
        return [leaf for part in parts for leaf in self.leaves(part)] if parts else [self.find(atom)]

    def pin(self, atom: int) -> None:
        """Mark that no part of it may be permuted."""
        for leaf in self.leaves(atom):
            self._is_pinned[leaf] = True

    def product(self, factors: Sequence[int]) -> int:
        """Return an atom of all combinations, the last factor fastest."""
        factors = [factor for factor in factors if self.size(factor) != 1]
        if len(factors) == 1:
            return factors[0]
        made = self.new(math.prod(map(self.size, factors)))
        if factors:
            self._parts[made] = "product", tuple(factors)
        return made

    def sum(self, terms: Sequence[int]) -> int:
        """Return an atom of several, one after the other."""
        terms = [term for term in terms if self.size(term) != 0]
        if len(terms) == 1:
            return terms[0]
        made = self.new(sum(map(self.size, terms)))
        if terms:
            self._parts[made] = "sum", tuple(terms)
        return made

    def factors(self, atom: int) -> list[int]:
        """Return its factors, products among them opened."""
        kind, parts = self._parts[self.find(atom)]
        return [factor for part in parts for factor in self.factors(part)] if kind == "product" else [self.find(atom)]

    def terms(self, atom: int) -> list[int]:
        """Return its terms, sums among them opened, (a + b) x c as (a x c) + (b x c)."""
        first, *rest = self.factors(atom)
        kind, parts = self._parts[first]
        if kind != "sum":
            return [self.find(atom)]
        if rest:
            parts = tuple(self.product((part, *rest)) for part in parts)
            self._parts[self.find(atom)] = "sum", parts
        return [term for part in parts for term in self.terms(part)]

    def join(self, a: int, b: int) -> None:
        """Make one of two atoms of a size."""
        a, b = self.find(a), self.find(b)
        assert self.size(a) == self.size(b), "only atoms of one size are joined"
        if a == b or self.size(a) < 2:
            return
        is_sum = len(self.terms(a)) > 1 or len(self.terms(b)) > 1
        if not self.kind(a) or not self.kind(b):
            leaf, other = (b, a) if self.kind(a) else (a, b)
            self._parent[leaf] = other
            if self._is_pinned[leaf]:
                self.pin(other)
        elif is_sum:
            # They may share atoms, so that a cut of one cuts the other elsewhere.
            while (cuts := {*self._cuts(a), *self._cuts(b)}) != {*self._cuts(a)} & {*self._cuts(b)}:
                for cut in cuts:
                    self.cut(a, cut)
                    self.cut(b, cut)
            for one, other in zip(self.terms(a), self.terms(b), strict=True):
                self.join(one, other)
        else:
            self._join_products(a, b)

    def _join_products(self, a: int, b: int) -> None:
        factors = self.factors(a)
        parts = self.split_factors(b, [self.size(factor) for factor in factors])
        if parts is None:
            self.pin(a)
            self.pin(b)
            return
        for one, other in zip(factors, parts, strict=True):
            self.join(one, other)

    def _cuts(self, atom: int) -> list[int]:
        return list(accumulate(self.size(term) for term in self.terms(atom)))[:-1]

    def cut(self, atom: int, place: int) -> None:
        """Make a sum of an atom that has an end of a term at a place."""
        start = 0
        for term in self.terms(atom):
            if start < place < start + self.size(term):
                self._cut_term(term, place - start)
                return
            start += self.size(term)

    def _cut_term(self, term: int, place: int) -> None:
        first, *rest = self.factors(term)
        inner = math.prod(map(self.size, rest))
        if not rest:
            pinned = self._is_pinned[first]
            sizes = (place, self.size(first) - place)
            self._parts[first] = "sum", tuple(self.new(size, pinned) for size in sizes)
        elif place % inner == 0:
            self._cut_term(first, place // inner)
        else:
            # The place is inside of one index of the first factor, so these are told apart.
            self.pin(first)
            self._parts[self.find(term)] = "sum", (self.product(rest),) * self.size(first)
            self.cut(term, place)

    def part(self, atom: int, start: int, stop: int) -> int:
        """Return the atom of a range of indices."""
        for place in (start, stop):
            self.cut(atom, place)
        ends = list(accumulate((self.size(term) for term in self.terms(atom)), initial=0))
        return self.sum([term for term, end in zip(self.terms(atom), ends, strict=False) if start <= end < stop])

    def split_factors(self, atom: int, sizes: Sequence[int]) -> list[int] | None:
        """Return factors of given sizes, refining the atom; None if it has none of these sizes."""
        waiting, found = self.factors(atom)[::-1], []
        for size in sizes:
            taken: list[int] = []
            missing = size
            while missing > 1:
                factor = waiting.pop()
                if missing % self.size(factor):
                    parts = self._split_in_two(factor, missing)
                    if parts is None:
                        return None
                    waiting.append(parts[1])
                    factor = parts[0]
                taken.append(factor)
                missing //= self.size(factor)
            found.append(self.product(taken) if taken else self.new(1))
        return found

    def _split_in_two(self, factor: int, outer: int) -> tuple[int, int] | None:
        """Refine one factor to a product whose first part has a size."""
        inner, remainder = divmod(self.size(factor), outer)
        if remainder:
            return None
        if not self.kind(factor):
            pinned = self._is_pinned[factor]
            parts = self.new(outer, pinned), self.new(inner, pinned)
            self._parts[factor] = "product", parts
            return parts
        # A sum splits where each of its terms does: (a x c) + (b x c) = (a + b) x c.
        terms = self.terms(factor)
        if any(self.size(term) % inner for term in terms):
            return None
        heads, tails = [], []
        for term in terms:
            halves = self.split_factors(term, (self.size(term) // inner, inner))
            if halves is None:
                return None
            heads.append(halves[0])
            tails.append(halves[1])
        for tail in tails[1:]:
            self.join(tails[0], tail)
        return self.sum(heads), tails[0]
