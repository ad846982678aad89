"""A model as settings: a method on a backbone, and the seed of what it fixes; as objects and as a flat record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asymjax.errors import InputError, choose
from asymjax.models.backbones import BACKBONES, MLP, Backbone
from asymjax.models.build import build_model
from asymjax.models.methods import METHODS, Method, Standard
from asymjax.models.settled import DEFAULT_PRIOR
from asymjax.priors import NormalPrior
from asymjax.settings import Seed, Settings, carried, kinds_of, name_of, that_have
from asymjax.types import Model

REGISTRIES: dict[str, Mapping[str, type[Settings]]] = {"arch": METHODS, "backbone": BACKBONES}
"""What is chosen by name -> what there is."""


@dataclass(frozen=True)
class ModelConfig(Settings):
    """A method on a backbone."""

    method: Method = field(default_factory=Standard)
    backbone: Backbone = field(default_factory=MLP)
    mask_seed: Seed = 0
    """Seed of what is fixed: the identity of the model, shared by all its seeds and chains."""

    @property
    def arch(self) -> str:
        """Name of the method."""
        return name_of(METHODS, self.method)

    @property
    def backbone_name(self) -> str:
        """Name of the backbone."""
        return name_of(BACKBONES, self.backbone)

    def unused(self) -> frozenset[str]:
        """Return the mask seed where nothing is fixed."""
        return frozenset({"mask_seed"} if isinstance(self.method, Standard) else ())

    @property
    def settings(self) -> dict[str, Any]:
        """Values of all settings, by name; see :meth:`of`."""
        return {**self.method.as_dict(), **self.backbone.as_dict(), "mask_seed": self.mask_seed}

    def record(self) -> dict[str, Any]:
        """Return names and settings as one flat dictionary, as config.json has it; :meth:`of` reads it back."""
        return {"arch": self.arch, "backbone": self.backbone_name, **self.settings}

    @classmethod
    def of(cls, arch: str = "standard", backbone: str = "mlp", **settings: Any) -> "ModelConfig":
        """Return the model of a record: two names, and settings of these; what is left out has its default.

        Raises
        ------
        InputError
            If a name is unknown, or a setting is not one of this method and this backbone.
        """
        return cls().having({"arch": arch, "backbone": backbone, **settings})

    def having(self, values: Mapping[str, Any]) -> "ModelConfig":
        """Return it with another method or backbone, by name, and with other settings of these.

        Raises
        ------
        InputError
            As :meth:`of`.
        """
        method, backbone, own = self.method, self.backbone, dict(values)
        if "arch" in own:
            method = carried(method, METHODS, own.pop("arch"), "arch")
        if "backbone" in own:
            backbone = carried(backbone, BACKBONES, own.pop("backbone"), "backbone")
        model = ModelConfig(method.having(own), backbone.having(own), own.get("mask_seed", self.mask_seed))
        for name in own:
            require(name, {"arch": [model.arch], "backbone": [model.backbone_name]})
        return model

    def build(self, input_shape: tuple[int, ...], num_outputs: int, prior: NormalPrior = DEFAULT_PRIOR) -> Model:
        """Build its functions; see :func:`~asymjax.models.build_model`."""
        return build_model(self.method, self.backbone, input_shape, num_outputs, prior)


def require(
    name: str,
    chosen: Mapping[str, list[str]],
    registries: Mapping[str, Mapping[str, type[Settings]]] = REGISTRIES,
) -> None:
    """Refuse a setting that nothing has that was chosen.

    Parameters
    ----------
    name : the setting.
    chosen : what is chosen by name, as ``arch`` -> names of those that are used.
    registries : what is chosen by name -> what there is.

    Raises
    ------
    InputError
        If it is a setting of others, which are named, or of none.
    """
    owners = {what: that_have(name, registry) for what, registry in registries.items()}
    if name == "mask_seed" or any(set(owners[what]) & set(chosen[what]) for what in owners):
        return
    for what, names in owners.items():
        if names:
            raise InputError(
                f"{', '.join(chosen[what])}: no {name}, which is a setting of {', '.join(names)}; leave it out, or "
                f"choose another --{what}"
            )
    classes = [one for registry in registries.values() for one in registry.values()]
    choose({known: None for one in classes for known in kinds_of(one)}, name, "setting")


def each_method(**settings: Any) -> dict[str, Method]:
    """Return every method by its name, with those of the settings that it has."""
    return {name: method().having(settings) for name, method in METHODS.items()}


@dataclass(frozen=True)
class Models(Settings):
    """One backbone under several methods, which are compared."""

    methods: Mapping[str, Method] = field(default_factory=each_method)
    backbone: Backbone = field(default_factory=MLP)
    archs: tuple[str, ...] = ("standard", "w_asym", "sigma_asym", "pruned", "syre")
    """Methods to compare."""
    mask_seed: Seed = 0
    """Seed of what is fixed: the identity of a model, shared by all its seeds and chains."""

    def of(self, arch: str) -> ModelConfig:
        """Return the model under one method, compared or not.

        Raises
        ------
        InputError
            If the name is unknown.
        """
        return ModelConfig(choose(self.methods, arch, "arch"), self.backbone, self.mask_seed)

    def record(self) -> dict[str, Any]:
        """Return what is compared as one dictionary, as config.json has it."""
        own = {"backbone": name_of(BACKBONES, self.backbone), **self.backbone.as_dict(), "mask_seed": self.mask_seed}
        return {"methods": {arch: self.of(arch).method.as_dict() for arch in self.archs}, **own}
