"""Permutations of our own backbones as written by hand: what reading them has to find."""

GATES = ("candidate", "reset", "update")


def of_chain(layer, norm, kernel_axes):
    """One permutation a hidden layer, of its kernel's columns, bias, norm and the next kernel's rows."""
    spec, incoming = {}, None
    for i in range(2):
        units = f"units_{i}"
        spec |= {f"{layer}_{i}/kernel": (*kernel_axes, incoming, units), f"{layer}_{i}/bias": (units,)}
        spec |= {f"act_{i}": (units,)}
        if norm:
            spec |= {f"norm_{i}/scale": (units,), f"norm_{i}/bias": (units,)}
        incoming = units
    return spec | {"output/kernel": (incoming, None), "output/bias": (None,)}


def convolutions():
    """Path, what it reads and writes, and the site that it feeds: identity shortcuts keep the channels of a stream."""
    yield "{}_stem", None, "stage_0", "act_stem"
    for stage in range(3):
        block, stream, before = f"block_{stage}_0", f"stage_{stage}", f"stage_{max(0, stage - 1)}"
        yield f"{block}/{{}}_0", before, block, f"{block}/act_0"
        yield f"{block}/{{}}_1", block, stream, f"{block}/act_1"
        if stage > 0:
            yield f"{block}/{{}}_shortcut", before, stream, f"{block}/act_1"


def of_resnet8():
    """One permutation a residual stream and one a block, with norms."""
    spec = {}
    for path, reads, writes, site in convolutions():
        spec |= {path.format("conv") + "/kernel": (None, None, reads, writes), site: (writes,)}
        spec |= dict.fromkeys((path.format("norm") + "/scale", path.format("norm") + "/bias"), (writes,))
    return spec | {"output/kernel": ("stage_2", None), "output/bias": (None,)}


def of_rnn():
    """One permutation a layer, of rows and columns of its recurrent kernels and all else of its units."""
    spec, incoming = {}, None
    for i in range(2):
        layer, units = f"gru_{i}", f"units_{i}"
        for gate in GATES:
            spec |= {f"{layer}/{gate}_input/kernel": (incoming, units), f"{layer}/{gate}_input/bias": (units,)}
            spec |= {f"{layer}/{gate}_recurrent/kernel": (units, units)}
        spec |= {name: (units,) for name in (f"{layer}/act", f"{layer}/norm/scale", f"{layer}/norm/bias")}
        incoming = units
    return spec | {"output/kernel": (incoming, None), "output/bias": (None,)}


WRITTEN = {
    "mlp": of_chain("dense", True, ()),
    "cnn": of_chain("conv", True, (None, None)),
    "resnet8": of_resnet8(),
    "rnn": of_rnn(),
    "gcn": of_chain("dense", True, ()),
    "gcn_batch": of_chain("dense", True, ()),
}
