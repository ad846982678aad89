"""Tables of what a model consists of and which symmetries remain."""

from typing import Any

from rich.console import Group
from rich.table import Table

from asymjax.models.symmetries import FAMILIES


def as_tables(description: dict[str, Any]) -> Group:
    """Lay out for the terminal what :func:`~asymjax.models.describe.describe` returns."""
    layers = Table("parameter", "shape", title="{arch} {backbone}, mask seed {mask_seed}".format(**description))
    for column in ("trainable", "fixed", "fixed scale"):
        layers.add_column(column, justify="right")
    for layer in description["layers"]:
        shape = " x ".join(map(str, layer["shape"]))
        scale = f"{layer['fixed_scale']:.4g}" if layer["fixed_scale"] else ""
        layers.add_row(layer["path"], shape, f"{layer['num_trainable']:,}", f"{layer['num_fixed']:,}", scale)
    layers.add_section()
    layers.add_row("total", "", f"{description['num_trainable']:,}", f"{description['num_fixed']:,}")
    symmetries = Table("symmetry", title="Symmetries of the function", caption=description["note"])
    for column in ("standard", "removed", "remaining"):
        symmetries.add_column(column, justify="right")
    symmetries.add_column("what is counted")
    for family, amounts in description["symmetries"].items():
        numbers = (f"{amounts[column]:,.6g}" for column in ("standard", "removed", "remaining"))
        symmetries.add_row(family, *numbers, FAMILIES[family])
    lines = [f"not counted: {sentence}" for sentence in description["not_counted"]]
    for name, count in description["cut_off"].items():
        lines += [
            f"{name}: {count[side]} of {count['num_units']} have no {side.removeprefix('no_')} weight that is not zero"
            for side in ("no_incoming", "no_outgoing")
            if count.get(side)
        ]
    return Group(layers, symmetries, *lines, f"checksum {description['checksum']}")
