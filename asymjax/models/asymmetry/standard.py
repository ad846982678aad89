"""The baseline: nothing is fixed, ``merge`` is the identity."""

from asymjax.models.asymmetry.method import Method

METHOD = Method()
