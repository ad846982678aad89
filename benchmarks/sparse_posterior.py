"""The posterior of the sparse network that pruning found, beside that of the dense one.

    python benchmarks/sparse_posterior.py --out-dir DIR

Networks of one hidden layer on rows of digits, by method. Each network is trained, a fifth of its weights of smallest
magnitude is pruned over all layers at once, the rest begins again from where it began, and so on. What its mask keeps
at a few rounds is sampled by Hamiltonian Monte Carlo, several chains a mask, and so is the dense network, with the same
budget. Entries have the prior that they have in the dense network.

Told are R-hat, effective sample sizes a gradient of the draws (warmup apart), and the scores of the mixture of all
draws on test rows. Weight space is that of the coordinates on which the likelihood depends: what is cut off has the
prior alone. Each posterior is a file of the folder: the same command goes on where one was stopped. The last line is
the file of the results.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

ARCHS = ("standard", "w_asym", "sigma_asym", "syre")
SHARE = 0.2


@dataclass(frozen=True)
class Config:
    """What is sampled."""

    out_dir: Path
    """Folder of what is done."""
    archs: tuple[str, ...] = ARCHS
    """Methods."""
    num_rounds: tuple[int, ...] = (0, 4, 9, 15)
    """Rounds of pruning after which networks are sampled; 0 for the dense network."""
    num_networks: int = 3
    """Networks of a method, each with its start, its masks and its frozen constants."""
    width: int = 32
    """Hidden units."""
    num_rows: int = 500
    """Training rows."""
    num_epochs: int = 60
    """Epochs of a training."""
    num_chains: int = 4
    """Chains of a posterior."""
    num_warmup: int = 150
    """Warmup draws of a chain."""
    num_draws: int = 150
    """Draws of a chain."""
    name: str = "sparse_posterior"
    """Name of the file of the results."""


def masks_of(config: Config, model: Any, dataset: Any, network: int) -> dict[int, tuple[Any, dict[str, float]]]:
    """Prune one network; return its mask after each number of rounds, with the score of what was trained under it."""
    import jax
    import optax

    from asymjax.diagnostics.scores import score
    from asymjax.models import draw_frozen
    from asymjax.sparse import pruning
    from asymjax.sparse.masks import apply_mask, full_mask, masked, prunable, with_mask
    from asymjax.train import make_train
    from asymjax.train.losses import cross_entropy
    from asymjax.trees import flatten, num_entries

    frozen, key = draw_frozen(model, network), jax.random.key(network)
    trainer = make_train(masked(model), cross_entropy, optax.adam(3e-3), config.num_epochs, batch_size=50)
    advance, outputs = jax.jit(trainer.advance, static_argnums=4), jax.jit(masked(model).apply)
    state = trainer.init(key, with_mask(frozen, full_mask(model.init(key, frozen))))
    trained, start, kept, paths = state, state.position, full_mask(state.position), sorted(prunable(model))
    total = num_entries([leaf for path, leaf in flatten(start).items() if path in paths])
    counts, found = pruning.counts_left(total, SHARE, max(config.num_rounds)), {}
    for number, left in enumerate(counts):
        if number:
            kept = pruning.prune(jax.tree.map(abs, trained.position), kept, paths, left)
        constants = with_mask(frozen, kept)
        begun = state._replace(position=apply_mask(start, kept))
        trained, _ = advance(key, begun, constants, dataset.train, config.num_epochs)
        if number in config.num_rounds:
            logits = outputs(trained.position, constants, dataset.test.inputs)
            found[number] = kept, score(dataset, [logits[None]]) | {"sparsity": 1 - left / total, "num_weights": left}
    return found


def sample_one(config: Config, model: Any, dataset: Any, kept: Any, network: int) -> dict[str, Any]:
    """Sample the posterior of what a mask keeps of a network; tell what its chains and its predictions are worth."""
    import jax
    import numpy as np

    import asymjax
    from asymjax import trees
    from asymjax.diagnostics.convergence import efficiency, ravel_positions, summarise
    from asymjax.diagnostics.scores import NUM_PROBES, function_coordinates, score
    from asymjax.models import draw_frozen
    from asymjax.sparse.masks import surviving

    sparse = surviving(model, kept)
    posterior = asymjax.make_posterior(sparse, dataset.train, frozen=draw_frozen(sparse, network))
    result = asymjax.sample(
        jax.random.key(network),
        posterior,
        sampler=asymjax.HMC(num_warmup=config.num_warmup),
        num_chains=config.num_chains,
        num_draws=config.num_draws,
        start=asymjax.Start(map_steps=0),
        show_progress=False,
    )
    predict = jax.jit(jax.vmap(jax.vmap(lambda at: sparse.apply(at, posterior.frozen, dataset.test.inputs))))
    logits = np.asarray(predict(result.position))
    some = jax.tree.map(lambda leaf: leaf[:, :: max(1, config.num_draws // 10)], result.position)
    slope = jax.grad(lambda at: posterior.loglikelihood(at, posterior.frozen, posterior.data).sum())
    slopes = ravel_positions(jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(slope)))(some)))[0]
    is_felt = np.any(slopes != 0, axis=(0, 1))
    gradients = float(result.draws["num_grad_evals"].sum())
    spaces = {
        "weights": ravel_positions(result.position)[0][..., is_felt],
        "functions": function_coordinates("classification", logits[:, :, :NUM_PROBES], has_scale_head=False),
    }
    told: dict[str, Any] = {}
    for name, coordinates in spaces.items():
        summary = summarise(coordinates)
        per_gradient = efficiency(summary, 1.0, gradients)
        told[name] = summary | {key: value for key, value in per_gradient.items() if key.endswith("grad_eval")}
    return told | {
        "num_coordinates": trees.num_entries(posterior.shape),
        "share_felt": float(is_felt.mean()),
        "gradients_a_draw": gradients / (config.num_chains * config.num_draws),
        "acceptance_rate": float(result.draws["acceptance_rate"].mean()),
        "num_divergent": int(result.draws["is_divergent"].sum()),
        "predictive": score(dataset, [logits]),
    }


def measure(config: Config) -> Iterator[dict[str, Any]]:
    """Yield a row a posterior; those that are done are read."""
    import jax

    from asymjax import data
    from asymjax.lab import run_files
    from asymjax.models.config import ModelConfig

    dataset = data.load("digits", None)
    dataset = dataset._replace(train=dataset.train.take(slice(config.num_rows)))
    settings = {name: value for name, value in asdict(config).items() if name.startswith(("num_", "width"))}
    tag = "-".join(str(value) for name, value in settings.items() if name not in ("num_rounds", "num_networks"))
    folder = config.out_dir / tag
    folder.mkdir(parents=True, exist_ok=True)
    for arch in config.archs:
        model = ModelConfig.of(arch=arch, widths=(config.width,), norm="none").build(dataset.input_shape, 10)
        for network in range(config.num_networks):
            files = {number: folder / f"{arch}-{network}-{number}.json" for number in config.num_rounds}
            is_done = all(file.exists() for file in files.values())
            masks = {} if is_done else masks_of(config, model, dataset, network)
            for number, file in files.items():
                if not file.exists():
                    kept, trained = masks[number]
                    told = sample_one(config, model, dataset, jax.device_get(kept), network)
                    row = {"arch": arch, "network": network, "num_rounds": number, "trained": trained, **told}
                    part = file.with_suffix(".part")
                    part.write_text(run_files.dumps(row, indent=1))
                    part.replace(file)  # Half a file is never read.
                yield run_files.read_json(file)


def in_short(row: Mapping[str, Any]) -> str:
    """Return what is told of a posterior in one line."""
    spaces = [
        f"{name} R-hat {row[name]['rhat_max']:.2f}, ESS {1000 * row[name]['ess_bulk_median_per_grad_eval']:.1f} a 1000 "
        "gradients"
        for name in ("weights", "functions")
    ]
    scores = [f"{name} {row['predictive'][name]:.3f}" for name in ("nll", "accuracy", "ece")]
    return "; ".join([*spaces, ", ".join(scores)])


def main(config: Config) -> list[dict[str, Any]]:
    """Sample all posteriors and print one row each."""
    from measure import save

    from asymjax.lab.devices import use_all_cores

    use_all_cores()
    rows, saved = [], None
    for row in measure(config):
        rows.append(row)
        print(
            f"{row['arch']} {row['network']} {row['trained']['sparsity']:.3f}: {in_short(row)}",
            flush=True,
        )
        saved = save(config.name, rows, {})
    print(saved)
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
