"""How far apart units end under weight decay, by method: which of them the mirrors of a network trap.

    python benchmarks/mirror_decay.py

Perceptrons on digits, trained by gradient descent with momentum on cross-entropy plus (decay / 2) |position|^2. Told
are, for each hidden layer, the smallest distance between two units, relative as of
``asymjax.paths.mirror.unit_distances``, in what belongs to them (effective weights) and in what they say of test rows;
which share of units has vanished and which share of pairs says the same; and the scores. Networks have initialisations
and frozen constants of their own. All networks and decays of a method are one compiled program. The last line is the
file of the results.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import tyro

VARIANTS: dict[str, dict[str, Any]] = {
    "standard": {"arch": "standard"},
    "w_asym": {"arch": "w_asym"},
    "sigma_asym": {"arch": "sigma_asym"},
    "syre": {"arch": "syre"},
    "syre, 1 %": {"arch": "syre", "fixed_scale": "one percent"},
    "pruned": {"arch": "pruned"},
}
"""Networks that are compared; "syre, 1 %" has the offsets of its authors, 0.01 over the root of the inputs."""
NEAR = 0.05
"""Relative distance below which units count as one, and relative norm below which they count as vanished."""


@dataclass(frozen=True)
class Config:
    """What is trained."""

    variants: tuple[str, ...] = tuple(VARIANTS)
    """Methods."""
    decays: tuple[float, ...] = (0.0, 1e-3, 3e-3, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2)
    """Weight decays."""
    num_networks: int = 6
    """Networks of a method and a decay."""
    widths: tuple[int, ...] = (16, 16)
    """Hidden units."""
    num_epochs: int = 200
    """Epochs of a training."""
    batch_size: int = 64
    """Rows a step."""
    learning_rate: float = 0.05
    """Learning rate, constant; momentum is 0.9."""
    name: str = "mirror"
    """Name of the file of the results."""


def model_of(variant: str, widths: tuple[int, ...], input_shape: tuple[int, ...], num_outputs: int) -> Any:
    """Build the network of a variant."""
    from asymjax.models.config import ModelConfig

    settings = dict(VARIANTS[variant])
    if settings.get("fixed_scale") == "one percent":
        settings["fixed_scale"] = tuple(0.01 * fan_in**-0.5 for fan_in in (math.prod(input_shape), *widths))
    return ModelConfig.of(widths=widths, norm="none", **settings).build(input_shape, num_outputs)


def measure(config: Config, variant: str) -> Iterator[dict[str, Any]]:
    """Train all networks of a variant at once; yield a row each."""
    import jax
    import numpy as np
    import optax

    from asymjax import data, rng, trees
    from asymjax.models import vary_frozen
    from asymjax.paths import mirror
    from asymjax.train import make_train
    from asymjax.train.losses import cross_entropy
    from asymjax.train.trainer import Member, make_varied

    dataset = data.load("digits", None)
    model = model_of(variant, config.widths, dataset.input_shape, dataset.num_outputs)
    vary, optimizer = partial(vary_frozen, model), optax.sgd(config.learning_rate, momentum=0.9)
    trainer = make_varied(
        lambda hyper: make_train(
            model, mirror.decayed(cross_entropy, hyper["decay"]), optimizer, config.num_epochs, config.batch_size
        ),
        vary,
    )
    shared = model.freeze(jax.random.key(0))

    def one(member: Any, train: Any, test: Any) -> dict[str, Any]:
        state, losses = trainer.train(member, shared, train)
        frozen = vary(shared, member.hyper)
        params = model.merge(state.position, frozen)
        logits = model.forward(params, frozen, test.inputs)
        return {
            "train_loss": losses[-1],
            "accuracy": (logits.argmax(1) == test.targets).mean(),
            "test_loss": cross_entropy(model.apply, state.position, frozen, test),
            "norm": trees.norm(state.position),
            "layers": of_layers(model, params, frozen, test.inputs, len(config.widths)),
        }

    seeds = np.tile(np.arange(config.num_networks), len(config.decays))
    decays = np.repeat(np.array(config.decays, np.float32), config.num_networks)
    keys = rng.member_keys(jax.random.key(0), config.num_networks)[seeds]
    members = Member(keys, {"decay": decays, "mask_seed": seeds})
    splits = jax.tree.map(jax.numpy.asarray, (dataset.train, dataset.test))
    found = jax.device_get(jax.jit(jax.vmap(one, (0, None, None)))(members, *splits))
    for i, (decay, seed) in enumerate(zip(decays.tolist(), seeds.tolist(), strict=True)):
        yield {"variant": variant, "decay": decay, "network": seed} | jax.tree.map(lambda leaf, i=i: leaf[i], found)


def of_layers(model: Any, params: Any, frozen: Any, inputs: Any, num_layers: int) -> dict[str, Any]:
    """Return what is told of the units of each hidden layer of one network."""
    import jax.numpy as jnp

    from asymjax.paths import mirror

    says = model.layer_inputs(params, frozen, inputs)
    readers = [f"dense_{i}" for i in range(1, num_layers)] + ["output"]
    told = {}
    for i, reader in enumerate(readers):
        vectors = mirror.unit_vectors(params, model.permutation_spec, f"units_{i}")
        responses = says[f"{reader}/kernel"].reshape(len(inputs), -1).T
        weights, words = mirror.unit_distances(vectors), mirror.unit_distances(responses)
        norms = jnp.linalg.norm(vectors, axis=1)
        is_pair = ~jnp.eye(len(words), dtype=bool)
        told[f"units_{i}"] = {
            "weights": mirror.smallest_distance(weights),
            "responses": mirror.smallest_distance(words),
            "share_vanished": jnp.mean(norms < NEAR * jnp.max(norms)),
            "share_alike": jnp.sum((words < NEAR) & is_pair) / jnp.sum(is_pair),
            "strength": mirror.smallest_distance(words) * jnp.sqrt(jnp.mean(jnp.square(responses))),
        }
    return told


def main(config: Config) -> list[dict[str, Any]]:
    """Measure all variants, print a line a decay of each, save all rows."""
    import numpy as np
    from measure import save

    from asymjax.lab.devices import use_all_cores
    from asymjax.symmetry.interpolation import over_networks

    use_all_cores()
    rows: list[dict[str, Any]] = []
    for variant in config.variants:
        own = list(measure(config, variant))
        rows += own
        for decay in dict.fromkeys(row["decay"] for row in own):
            some = [row for row in own if row["decay"] == decay]
            told = [
                f"{kind} {over_networks(np.array([row['layers'][layer][kind] for row in some]))['mean']:.4f}"
                for layer in some[0]["layers"]
                for kind in ("weights", "responses", "share_vanished", "share_alike")
            ]
            accuracy = over_networks(np.array([row["accuracy"] for row in some]))["mean"]
            print(f"{variant} {decay:g}: {', '.join(told)}, accuracy {accuracy:.3f}", flush=True)
    print(save(config.name, rows, asdict(config)))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
