"""One length of trajectories for all chains, by the ChEES criterion.

ChEES (Hoffman, Radul and Sountsov 2021, "An adaptive-MCMC scheme for setting trajectory lengths in Hamiltonian Monte
Carlo") is the expectation of a quarter of (|x' - m|^2 - |x - m|^2)^2 over trajectories from x to x', with m the mean of
the posterior. What is maximised here is ChEES over the mean length T, a gain for each gradient, as Sountsov and Hoffman
(2022, "Focusing on difficult directions for learning HMC trajectory lengths") have it. Positions are in units of the
metric's scale. Lengths keep the jitter of the sampler.

BlackJAX's adaptation takes m over chains in every step of a loop that holds them all. Here chains walk alone through a
chunk of warmup and meet between chunks, so that they run on any devices in any order; so m is what they agreed on at
their last meeting, and the gradient stands here. Each takes steps of Adam by itself, and log T is averaged when they
meet.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from asymjax.types import Array

# As ChEES in TensorFlow Probability has them, but for twice its rate: warmups are short.
LEARNING_RATE, DECAY, MAX_CHANGE = 0.05, 0.95, 0.35
# The k-th step has weight k^-0.5 in the average of log T, which is what is kept.
AVERAGING = -0.5


class Meeting(NamedTuple):
    """What chains tell each other, [chain, ...]; and, averaged over them, what they learn.

    Attributes
    ----------
    log_length : [] log T.
    average : [] its average over steps.
    mean : [coordinates] of positions since the last meeting.
    """

    log_length: Array
    average: Array
    mean: Array


class Length(NamedTuple):
    """What one chain knows of the length of trajectories.

    Attributes
    ----------
    log_length : [] log of the mean length T that it walks with.
    average : [] its average over steps.
    adam : state of the optimizer.
    num_steps : [] steps of the optimizer.
    centre : [coordinates] m, a mean over all chains in which later meetings weigh more.
    num_meetings : []; before the first there is no centre, and T stays.
    mean : [coordinates] of the chain's own positions since the last meeting.
    num_positions : [] how many those are.
    """

    log_length: Array
    average: Array
    adam: optax.OptState
    num_steps: Array
    centre: Array
    num_meetings: Array
    mean: Array
    num_positions: Array


ADAM = optax.scale_by_adam(b1=0.0, b2=DECAY)


def begin(trajectory_length: float, position: Array) -> Length:
    """Return what a chain knows at its start, from a length and a position [coordinates]."""
    log_length = jnp.log(jnp.asarray(trajectory_length, position.dtype))
    zero, zeros = jnp.zeros((), position.dtype), jnp.zeros_like(position)
    return Length(log_length, log_length, ADAM.init(log_length), zero, zeros, zero, zeros, zero)


def rate_gradient(start: Array, end: Array, momentum: Array, inverse_mass_matrix: Array, time: Array) -> Array:
    """Return an estimate [] of T d/d(log T) of the criterion's expectation over T, from one trajectory.

    With T the mean length and the time t of a trajectory a fixed share of it, this is t dC/dt - C, for
    C = (|end|^2 - |start|^2)^2 / 4. In units of the metric's scale, the product of position and velocity is that of
    position and momentum.

    Parameters
    ----------
    start, end : [coordinates] positions from m.
    momentum : [coordinates] at the end.
    inverse_mass_matrix : [coordinates], whose root is the metric's scale.
    time : [] t, in these units.
    """
    change = jnp.vdot((end - start) / inverse_mass_matrix, end + start)
    return change * (time * jnp.vdot(end, momentum) - change / 4)


def update(length: Length, position: Array, gradient: Array) -> Length:
    """Take a step of Adam along a gradient [], and count a position [coordinates]."""
    updates, adam = ADAM.update(gradient, length.adam)
    change = jnp.clip(LEARNING_RATE * updates, -MAX_CHANGE, MAX_CHANGE)
    num_steps, num_positions = length.num_steps + 1, length.num_positions + 1
    log_length = length.log_length + change
    moved = length._replace(
        log_length=log_length,
        average=length.average + (log_length - length.average) * num_steps**AVERAGING,
        adam=adam,
        num_steps=num_steps,
    )
    chosen = jax.tree.map(lambda new, old: jnp.where(length.num_meetings > 0, new, old), moved, length)
    return chosen._replace(
        mean=length.mean + (position - length.mean) / num_positions,
        num_positions=num_positions,
    )


def rescaled(length: Length, old: Array, new: Array) -> Length:
    """Return the length in the units of another inverse mass matrix [coordinates].

    With r the new over the old, T is divided by the root of sum r^2 / sum r: exact where all scales change alike, and
    where the new matrix has the variances, near what the largest of them asks for.
    """
    ratio = new / old
    shift = 0.5 * jnp.log(jnp.sum(ratio) / jnp.sum(jnp.square(ratio)))
    log_length = length.log_length + shift
    return length._replace(log_length=log_length, average=length.average + shift, adam=ADAM.init(log_length))


def tell(length: Length) -> Meeting:
    """Return what a chain tells the others."""
    return Meeting(length.log_length, length.average, length.mean)


def meet(told: Meeting) -> Meeting:
    """Return what chains learn: means over the leading axis of what they told."""
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), told)


def learn(length: Length, learned: Meeting) -> Length:
    """Return what a chain knows after a meeting; the k-th changes m with weight 2 / (k + 1)."""
    num_meetings = length.num_meetings + 1
    return length._replace(
        log_length=learned.log_length,
        average=learned.average,
        centre=length.centre + (learned.mean - length.centre) * 2 / (num_meetings + 1),
        num_meetings=num_meetings,
        mean=jnp.zeros_like(length.mean),
        num_positions=jnp.zeros_like(length.num_positions),
    )
