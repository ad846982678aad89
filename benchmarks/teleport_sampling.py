"""What a teleport to balance is worth before Hamiltonian Monte Carlo of a standard ReLU network.

    python benchmarks/teleport_sampling.py

Networks on rows of digits are trained, each chain from an initialisation of its own, and chains start there; or at the
same functions with units rescaled at random (lopsided); or at either, teleported to the point of the orbit that the
prior likes best (balanced), or with the least squared length (short). Told are the log prior at the start, the largest
R-hat, and median effective sample sizes a thousand gradients, those of the draws alone and with the warmup, for warmups
of several lengths. Chains begin at different optima, which weights tell apart for ever; so function space comes first.
Every repeat has networks and keys of its own, the same for all starts. The last line is the file of the results.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import tyro


@dataclass(frozen=True)
class Config:
    """What is sampled."""

    starts: tuple[str, ...] = ("trained", "trained, short", "trained, balanced", "lopsided", "lopsided, balanced")
    """Where chains start."""
    sampler: Literal["hmc", "nuts"] = "hmc"
    """Sampler."""
    num_warmup: tuple[int, ...] = (20, 150)
    """Warmup draws of a chain."""
    num_draws: int = 150
    """Draws of a chain."""
    num_chains: int = 4
    """Chains of a posterior, each of a network of its own."""
    num_repeats: int = 5
    """Posteriors of each start."""
    widths: tuple[int, ...] = (10,)
    """Hidden units."""
    num_rows: int = 300
    """Training rows."""
    num_epochs: int = 60
    """Epochs of the training before, by Adam at 0.003, batches of 50."""
    largest_exponent: float = 2.0
    """Of the random rescaling of lopsided networks: factors of up to 7.4."""
    name: str = "teleport_sampling"
    """Name of the file of the results."""


def starts_of(config: Config, posterior: Any, repeat: int) -> dict[str, Any]:
    """Return where chains start, leaves [chain, ...], by name."""
    import jax
    import optax

    from asymjax import rng
    from asymjax.paths import teleport
    from asymjax.symmetry.continuous import find_group
    from asymjax.train import make_train
    from asymjax.train.losses import cross_entropy

    model, frozen = posterior.model, posterior.frozen
    group = find_group(model, frozen)
    act = teleport.action(group, model, frozen)
    trainer = make_train(model, cross_entropy, optax.adam(3e-3), config.num_epochs, batch_size=50)
    wander = teleport.wander(act, group.identity, config.largest_exponent)
    precision = jax.tree.map(lambda scale: scale**-2.0, posterior.prior_scale)

    @jax.jit
    def find(key: Any, data: Any) -> dict[str, Any]:
        trained = trainer.train(key, frozen, data)[0].position
        lopsided, _ = wander(rng.named_key(key, "lopsided"), trained, None)
        return {
            "trained": trained,
            "lopsided": lopsided,
            "trained, short": teleport.balance(act, group.identity, trained),
            "trained, balanced": teleport.balance(act, group.identity, trained, precision),
            "lopsided, balanced": teleport.balance(act, group.identity, lopsided, precision),
        }

    keys = rng.member_keys(jax.random.fold_in(jax.random.key(0), repeat), config.num_chains)
    data = jax.tree.map(jax.numpy.asarray, posterior.data)
    each = [find(key, data) for key in keys]
    return jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *each)


def sample_one(config: Config, posterior: Any, start: Any, num_warmup: int, repeat: int) -> dict[str, Any]:
    """Sample a posterior from a start; tell what its chains are worth."""
    import jax
    import numpy as np

    import asymjax
    from asymjax import rng, trees
    from asymjax.diagnostics.convergence import ravel_positions, summarise
    from asymjax.diagnostics.scores import NUM_PROBES, function_coordinates
    from asymjax.lab import devices
    from asymjax.lab.chains import sample_chains, warm_up
    from asymjax.lab.recorder import InMemory

    samplers: dict[str, Callable[..., Any]] = {"hmc": asymjax.HMC, "nuts": asymjax.NUTS}
    sampler = samplers[config.sampler](num_warmup=num_warmup)
    # As asymjax.sample, which does not tell the gradients of the warmup.
    run, placement, key = InMemory(), devices.place(config.num_chains), jax.random.key(100 + repeat)
    keys = {role: rng.member_keys(rng.named_key(key, role), config.num_chains) for role in ("warmup", "sample")}
    first, tuned = warm_up(run, posterior, keys["warmup"], start, placement, sampler)
    warmup_gradients = float(sum(np.sum(line["num_grad_evals"]) for line in run.metrics))

    def keep(position: Any, own: Any, inputs: Any) -> dict[str, Any]:
        return trees.named_leaves({"position": position})

    sample_chains(
        run,
        posterior,
        keys["sample"],
        first,
        trees.to_host(tuned),
        (),
        placement,
        sampler,
        config.num_draws,
        keep,
    )
    draws = run.draws
    position = trees.unflatten(draws | {})["position"]
    inputs = posterior.data.inputs[:NUM_PROBES]
    predict = jax.jit(jax.vmap(jax.vmap(lambda at: posterior.model.apply(at, posterior.frozen, inputs))))
    logits = np.asarray(predict(position))
    gradients = float(draws["num_grad_evals"].sum())
    spaces = {
        "weights": ravel_positions(position)[0],
        "functions": function_coordinates("classification", logits, has_scale_head=False),
    }
    told: dict[str, Any] = {}
    for name, coordinates in spaces.items():
        summary = summarise(coordinates)
        ess = summary["ess_bulk_median"]
        told[name] = summary | {
            "ess_per_grad_eval": ess / gradients,
            "ess_per_grad_eval_with_warmup": ess / (gradients + warmup_gradients),
        }
    return told | {
        "gradients_a_draw": gradients / (config.num_chains * config.num_draws),
        "warmup_gradients": warmup_gradients,
        "acceptance_rate": float(draws["acceptance_rate"].mean()),
        "log_prior": float(np.mean(jax.vmap(posterior.logprior)(start))),
    }


def measure(config: Config) -> Iterator[dict[str, Any]]:
    """Yield a row a posterior."""
    import asymjax
    from asymjax import data
    from asymjax.models.config import ModelConfig

    dataset = data.load("digits", None)
    model = ModelConfig.of(widths=config.widths, norm="none", activation="relu").build(dataset.input_shape, 10)
    posterior = asymjax.make_posterior(model, dataset.train.take(slice(config.num_rows)))
    for repeat in range(config.num_repeats):
        found = starts_of(config, posterior, repeat)
        for num_warmup in config.num_warmup:
            for start in config.starts:
                told = sample_one(config, posterior, found[start], num_warmup, repeat)
                yield {"start": start, "num_warmup": num_warmup, "repeat": repeat, **told}


def in_short(row: dict[str, Any]) -> str:
    """Return what is told of a posterior in one line."""
    spaces = [
        f"{name} R-hat {row[name]['rhat_max']:.2f}, ESS {1000 * row[name]['ess_per_grad_eval']:.2f} a 1000 gradients, "
        f"{1000 * row[name]['ess_per_grad_eval_with_warmup']:.2f} with warmup"
        for name in ("functions", "weights")
    ]
    return "; ".join([*spaces, f"log prior {row['log_prior']:.0f}, {row['gradients_a_draw']:.0f} gradients a draw"])


def main(config: Config) -> list[dict[str, Any]]:
    """Sample all posteriors and print one row each."""
    from measure import save

    from asymjax.lab.devices import use_all_cores

    use_all_cores()
    rows, saved = [], None
    for row in measure(config):
        rows.append(row)
        print(f"{row['repeat']} {row['num_warmup']} {row['start']}: {in_short(row)}", flush=True)
        saved = save(config.name, rows, asdict(config))
    print(saved)
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
