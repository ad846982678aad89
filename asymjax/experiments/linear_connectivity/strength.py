"""How strongly a variant tells its units apart: distances to its set and swap costs, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from asymjax import trees
from asymjax.errors import InputError
from asymjax.experiments.populations import Population
from asymjax.lab.results import Named
from asymjax.lab.rundir import RunDir
from asymjax.symmetry.connectivity import Rows
from asymjax.symmetry.strength import SHARE_OF_VARIANCE, LayerStrength, check_measurable, layer_strengths
from asymjax.types import Params

LOW_QUANTILE = 0.05
MAX_NETWORKS = 3  # They differ little: masks and fixed values are the same.


def measure_strength(
    run: RunDir, name: str, population: Population, networks: Params, names: Sequence[str], rows: Rows
) -> tuple[dict[str, Any] | None, Named]:
    """Measure the strength of asymmetry of the first ``MAX_NETWORKS`` networks of a population.

    Parameters
    ----------
    run, name : whose clock runs, and what the variant is called.
    population : the variant's networks and model.
    networks, names : effective parameters, leaves [network, ...], and what each network is called.
    rows : test rows, the first batch of which gives the directions that matter to each layer.

    Returns
    -------
    The entry in summary.json, layer -> quantity -> [network], and the arrays of the figure: by layer the signed roots
    of all swap costs of the first network. None and none where swap costs are not defined.
    """
    x = jax.tree.map(lambda leaf: leaf[0], rows.inputs)
    try:
        if population.variant.masks == "own":
            raise InputError("networks with masks of their own have no set in common")
        check_measurable(population.model, population.frozen, x)
    except InputError as error:
        print(f"{name}: strength of asymmetry is not measured: {error}", flush=True)
        return None, {}
    with run.clock(f"strength-{name}"):
        layer_inputs = jax.jit(population.model.layer_inputs)
        found: dict[str, Mapping[str, LayerStrength]] = {}
        for index, seed in enumerate(names[:MAX_NETWORKS]):
            params = jax.tree.map(lambda leaf, i=index: leaf[i], networks)
            inputs = trees.to_host(layer_inputs(params, population.frozen, x))
            try:
                found[seed] = layer_strengths(population.model, params, population.frozen, inputs)
            except InputError as error:
                print(f"{name}: strength of asymmetry of seed {seed} is not measured: {error}", flush=True)
    if not found:
        return None, {}
    first = next(iter(found.values()))
    layers = {layer: summarise([network[layer] for network in found.values()]) for layer in first}
    arrays = {
        f"strength/{layer}": (("units",), strength.swap_costs.astype(np.float32)) for layer, strength in first.items()
    }
    entry = {"networks": list(found), "share_of_variance": SHARE_OF_VARIANCE, "num_rows": len(x)}
    return entry | {"layers": layers}, arrays


def summarise(strengths: Sequence[LayerStrength]) -> Mapping[str, list[float]]:
    """Return what is said of a layer, each [network]; swap costs by their signed roots, which may be infinite."""

    def quantiles(level: float) -> list[float]:
        # An order statistic: between a finite cost and an infinite one there is nothing to interpolate.
        return [
            float(np.quantile(one.swap_costs, level, method="inverted_cdf")) if len(one.swap_costs) else np.nan
            for one in strengths
        ]

    return {
        "coherence": [one.coherence for one in strengths],
        "num_dimensions": [one.num_dimensions for one in strengths],
        "swap_cost_median": quantiles(0.5),
        "swap_cost_low": quantiles(LOW_QUANTILE),
        "share_negative": [float(np.mean(one.swap_costs < 0)) if len(one.swap_costs) else np.nan for one in strengths],
        "distance": [one.distance for one in strengths],
    }
