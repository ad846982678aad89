"""asymjax: a laboratory for neural parameter symmetries, in JAX.

The rooms, left to right; each imports only rooms to its left and the root modules:
data -> models -> train -> symmetry -> inference -> diagnostics -> report.
"""

__version__ = "0.1.0"
