"""Models of tests that go through many methods and backbones."""

from asymjax.models.config import BACKBONES, METHODS, ModelConfig
from asymjax.settings import kinds_of


def model_of(arch="standard", backbone="mlp", **settings):
    """Return a model, with those of the settings that its method and its backbone have."""
    known = kinds_of(METHODS[arch]) | kinds_of(BACKBONES[backbone]) | {"mask_seed": int}
    return ModelConfig.of(arch=arch, backbone=backbone, **{name: v for name, v in settings.items() if name in known})
