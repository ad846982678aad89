"""The posterior of one network by any sampler."""
