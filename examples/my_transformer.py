"""A network of your own, a small NNX transformer: its symmetries, a W-asymmetric version, training, and its posterior.

    python examples/my_transformer.py

Digits as 16 patches of 2 x 2 pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import asymjax

WIDTH, HEADS, PATCHES = 16, 2, 16


class Transformer(nnx.Module):
    """One block of attention and one MLP, on patches with learned places."""

    def __init__(self, rngs):
        self.embed = nnx.Linear(4, WIDTH, rngs=rngs)
        self.place = nnx.Param(0.1 * jax.random.normal(rngs.params(), (PATCHES, WIDTH)))
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 32, rngs=rngs)
        self.down = nnx.Linear(32, WIDTH, rngs=rngs)
        self.classes = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, x):
        """Map patches [rows, 16, 4] to logits [rows, 10]."""
        x = self.embed(x) + self.place[...]
        x = x + self.attention(self.norms[0](x))
        x = x + self.down(nnx.gelu(self.up(self.norms[1](x))))
        return self.classes(jnp.mean(x, axis=1))


def patches(images):
    """Cut images [rows, 64] into patches [rows, 16, 4]."""
    grid = images.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4)
    return (grid.reshape(-1, PATCHES, 4) / 8 - 1).astype(np.float32)


def main(num_epochs=40, num_warmup=50, num_draws=50, num_rows=400):
    """Print its symmetries, train four networks, sample, and return the accuracies of both."""
    images, labels = load_digits(return_X_y=True)
    X, y = patches(images), labels
    train, (X_test, y_test) = (X[360:], y[360:]), (X[:360], y[:360])

    plain = asymjax.from_flax(Transformer, X[:2])
    print(asymjax.describe_symmetries(plain, X[:2]))
    # Of 4 inputs no 16 units can fix as many each and differ; the densest masks fix as few as tell units apart.
    model = asymjax.from_flax(Transformer, X[:2], asymjax.WAsym(mask_kind="densest", fixed_scale=0.5))

    swept = asymjax.train_sweep(
        jax.random.key(0), model, train, num_seeds=4, num_epochs=num_epochs, optimizer=optax.adamw(3e-3)
    )
    logits = jax.vmap(model.forward, (0, None, None))(swept.params, swept.frozen, X_test)
    trained = float(np.mean(np.argmax(logits, -1) == y_test))

    posterior = asymjax.make_posterior(model, (train[0][:num_rows], train[1][:num_rows]), frozen=swept.frozen)
    result = asymjax.sample(
        jax.random.key(1),
        posterior,
        sampler=asymjax.HMC(num_warmup=num_warmup, max_integration_steps=50),
        num_chains=4,
        num_draws=num_draws,
        start=swept.position,
    )
    probabilities = result.predict(X_test)
    sampled = float(np.mean(np.argmax(probabilities.mean(axis=(0, 1)), -1) == y_test))
    print(f"accuracy: trained on {len(train[0])} rows {trained:.3f}, posterior on {num_rows} rows {sampled:.3f}")
    print(f"median R-hat of predictions {np.nanmedian(asymjax.rhat(probabilities)):.3f}")
    return trained, sampled


if __name__ == "__main__":
    main()
