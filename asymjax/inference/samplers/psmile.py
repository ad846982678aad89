"""Microcanonical Langevin dynamics on minibatch gradients, preconditioned by their noise.

From the paper (Sommer, Diao, Robnik, Seljak and Rügamer 2026, "Can Microcanonical Langevin Dynamics Leverage Mini-Batch
Gradient Noise?", arXiv 2602.06500; pSMILE), as its abstract and its authors' code have it: isokinetic dynamics on the
gradients of a few rows, whose noise turns the direction as Langevin noise would. Noise that differs between coordinates
biases the draws, so that they walk in coordinates divided by the noise's standard deviation, a running mean.

Ours, and not the paper's:

- One gradient and one kick a step, as the other samplers here; the authors' integrator takes two of the same rows.
- Directions are refreshed by noise as well (Robnik et al. 2023), for where gradients are exact.
- A parameter's scale is ``s = 1 / sqrt(1 + (n / N) v)`` in units of the prior, for n of N rows and the variance v of
  gradients about their running mean. The noise of a minibatch is N / n times the curvature of the likelihood where the
  model fits, so that s is near the posterior's width, and it is at most the prior's; the authors clip. It is fixed when
  warmup ends, so that it biases no draw; theirs follows the chain.
- Gradients get noise of variance ``(N / n) s^2``, which makes that of all coordinates N / n. Without it coordinates of
  which rows say little are too cold, and the others too hot. Noise that coordinates share is not made alike: it heats
  stiff directions that no axis follows, the more the larger sqrt(step_size) x decoherence.
- The step size stays. The authors adapt it to quantiles of energy changes, and undo steps of large ones.

Kicks and refreshment are BlackJAX's; its ``mclmc`` itself wants one density for all steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.lazy import blackjax
from asymjax.inference.samplers.gradients import Gradient
from asymjax.inference.samplers.minibatch import Dynamics, Minibatch, Tuned
from asymjax.inference.samplers.psgld import Norms, no_norms, update_norms
from asymjax.settings import Fraction, Positive
from asymjax.types import Array, Key, PyTree


class Noise(NamedTuple):
    """Running moments of minibatch gradients, in units of one row.

    Attributes
    ----------
    norms : those of their squares.
    mean : [coordinates] that of themselves, with the same weights.
    """

    norms: Norms
    mean: Array


def update_noise(noise: Noise, gradient: Array, decay: float) -> Noise:
    """Add a gradient, of which a step keeps the share ``decay``."""
    return Noise(update_norms(noise.norms, gradient, decay), decay * noise.mean + (1 - decay) * gradient)


def variance_of(noise: Noise, decay: float) -> Array:
    """Return the variance of the gradients [coordinates] about their mean: a slope that lasts is no noise.

    With weights that are worth k gradients it is ``E g^2 - (1 - 1 / k) (E g)^2``, the mean square of a first one and
    then without bias but for ``(E g)^2 / k``.
    """
    weight = noise.norms.weight
    share = (1 - decay) * (2 - weight) / ((1 + decay) * weight)  # 1 / k
    return jnp.maximum(noise.norms.squares / weight - (1 - share) * jnp.square(noise.mean / weight), 0.0)


class Flight(NamedTuple):
    """What a chain has beside z; arrays of coordinates are in the order of ``ravel_pytree``.

    Attributes
    ----------
    direction : [coordinates] of length 1.
    scale : [coordinates] units in which it walks, in units of z.
    noise : running moments of gradients, while warmup finds the scale; then None.
    bend : [] kinetic energy that the second half of the last kick took beyond its work, in nats.
    energy_change : [] of the last step, in nats.
    """

    direction: Array
    scale: Array
    noise: Noise | None
    bend: Array
    energy_change: Array


def isokinetic(decoherence: float, decay: float, batch_size: int) -> Dynamics:
    """Return the dynamics of d coordinates y = z / s at speed 1, in steps of length h = sqrt(d epsilon).

    A step is ``z <- z + h s u``, then half a kick, refreshment, and half a kick, by the force
    ``f = s (g + sqrt(N / n) xi)`` with the gradient g of n of N rows at the new z. A kick for the time h turns u
    towards e = f / |f|: with c = e . u and a = h |f| / (d - 1),
    ``u <- (u + e (sinh a + c (cosh a - 1))) / (cosh a + c sinh a)``. Refreshment is ``u <- (u + nu xi) / |u + nu xi|``
    with ``nu^2 = (exp(2 h / L) - 1) / d`` and ``L = sqrt(d) decoherence``. Both are of Robnik et al. (2023,
    "Microcanonical Hamiltonian Monte Carlo", arXiv 2212.08549).

    Energy changes are those of the leapfrog step from one gradient to the next, with the work of the mean of both in
    place of the change of the potential, as is exact for Gaussians: log densities of different rows are not compared.

    Parameters
    ----------
    decoherence : path over which refreshment alone forgets directions, above 0.
    decay : share of the running moments of gradients that a step of warmup keeps, in [0, 1).
    batch_size : rows of a gradient.
    """
    kick = blackjax.mcmc.integrators.esh_dynamics_momentum_update_one_step()
    refresh = blackjax.mcmc.integrators.partially_refresh_momentum

    def init(key: Key, z: PyTree, tuned: Tuned) -> Flight:
        flat = ravel_pytree(z)[0]
        if flat.size == 1:
            raise InputError("psmile needs 2 coordinates or more, for it turns a direction; there is 1, choose sgld")
        direction, nothing = blackjax.util.generate_unit_vector(key, flat), jnp.zeros((), flat.dtype)
        if tuned.scale is not None:
            return Flight(direction, tuned.scale, None, nothing, nothing)
        noise = Noise(no_norms(flat), jnp.zeros_like(flat))
        return Flight(direction, jnp.ones_like(flat), noise, nothing, nothing)

    def step(
        key: Key, z: PyTree, memory: Flight, gradient: Gradient, epsilon: Array, num_rows: int
    ) -> tuple[PyTree, Flight]:
        flat, unravel = ravel_pytree(z)
        length, u, scale, noise = jnp.sqrt(flat.size * epsilon), memory.direction, memory.scale, memory.noise
        z = unravel(flat + length * scale * u)
        g = ravel_pytree(gradient(z, rng.named_key(key, "rows")))[0]
        if noise is not None:
            noise = update_noise(noise, g / num_rows, decay)
            scale = jax.lax.rsqrt(1 + batch_size * num_rows * variance_of(noise, decay))
        level = (num_rows / batch_size) ** 0.5 * jax.random.normal(rng.named_key(key, "level"), g.shape, g.dtype)
        force = scale * (g + level)
        before = bend(u, force, length / 2)
        u = kick(u, force, length, 0.5)[0]
        u = refresh(u, rng.named_key(key, "refreshment"), length, flat.size**0.5 * decoherence)
        u = kick(u, force, length, 0.5)[0]
        # Seen from its end, a kick is one of the reversed direction.
        after = bend(-u, force, length / 2)
        return z, Flight(u, scale, noise, after, before - memory.bend)

    return Dynamics(init, step, lambda memory: {"scale": memory.scale}, lambda memory: memory.energy_change)


def bend(direction: Array, force: Array, time: Array) -> Array:
    """Return by how much the kinetic energy of a kick exceeds the work along its first direction, in nats.

    ``(d - 1) (log(cosh a + c sinh a) - a c)``, with a and c as in :func:`isokinetic`.
    """
    num_others, norm = direction.size - 1, jnp.linalg.norm(force)
    a, c = time * norm / num_others, direction @ force / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)
    return num_others * (a * (1 - c) + jnp.log1p(0.5 * (1 - c) * jnp.expm1(-2 * a)))


@dataclass(frozen=True)
class PSMILE(Minibatch):
    """Microcanonical Langevin dynamics in coordinates in which gradients are alike noisy."""

    step_size: Positive = 0.1
    """Step size in units of one row, the square of the time step: a step goes sqrt(step_size / rows) a coordinate, in
    units of the posterior's width as the noise of gradients has it."""
    decoherence: Positive = 1.0
    """Length of the path on which refreshment forgets the direction, divided by sqrt(coordinates), in the same units.
    Gradient noise shortens it."""
    norm_decay: Fraction = 0.99
    """Share of the running moments of gradients that a step of warmup keeps, in [0, 1)."""

    @property
    def dynamics(self) -> Dynamics:
        """What a step does."""
        return isokinetic(self.decoherence, self.norm_decay, self.batch_size)
