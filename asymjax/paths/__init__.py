"""Paths in weight space on which the function stays: what moves it, walks that do not, and moves that cannot.

In: the outputs of a network as a function of its position, and inputs on which they have to stay. Out: the metric of
outputs, its null space, and positions along a path. To add what shall fall along a path: a function of (key, position,
data) in ``objectives``.
"""
