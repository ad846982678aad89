"""How the reference reads docstrings: a meaning stands where numpydoc has a type, and roles of Sphinx are links."""

import re
from copy import copy
from textwrap import dedent
from typing import Any

from griffe import Alias, Class, Extension, Module, NameResolutionError, Object, get_logger

import asymjax

SECTION = re.compile(r"^(Parameters|Attributes|Returns)\n-+\n((?:.+\n?|\n(?!\S+\n-+\n))*)", re.MULTILINE)
ITEM = re.compile(r"^(\w+(?:, \w+)*) : (.*\n(?:(?: .*)?\n)*)", re.MULTILINE)
ROLE = re.compile(r":(?:func|class|meth|mod):`~?([\w.]+)`")
log = get_logger("asymjax")


class Docstrings(Extension):
    """Public names as members of the package, docstrings in plain numpydoc, and roles as links."""

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        """Add the names that are imported when they are first used, and rewrite all docstrings."""
        for name, module in asymjax._MODULE_OF.items():
            pkg.set_member(name, Alias(name, f"{module}.{name}", parent=pkg))
        _rewrite(pkg, pkg)
        for cls in _classes(pkg):
            _inherit_settings(cls)


def _classes(obj: Object) -> list[Class]:
    own = [member for member in obj.members.values() if not member.is_alias and (member.is_module or member.is_class)]
    return [found for member in own for found in ([member] if member.is_class else _classes(member))]


def _inherit_settings(cls: Class) -> None:
    """Show the settings of a dataclass that its base classes declare."""
    if any(base.path == "asymjax.settings.Settings" for base in cls.mro()):
        for name, member in cls.inherited_members.items():
            if member.is_attribute and member.docstring:
                setting = copy(member.final_target)
                setting.parent = cls
                cls.set_member(name, setting)


def _rewrite(obj: Object, pkg: Module) -> None:
    if obj.docstring:
        obj.docstring.value = ROLE.sub(
            lambda role: _link(obj, role[1], pkg), _as_numpydoc(obj.path, obj.docstring.value)
        )
    for member in obj.members.values():
        if not member.is_alias:
            _rewrite(member, pkg)


def _as_numpydoc(path: str, text: str) -> str:
    """Put what follows a name below it, and what is returned below a colon: types are those of the signature."""

    def one(match: re.Match) -> str:
        name, body = match.groups()
        if name == "Returns":
            first, *rest = body.strip().splitlines()
            if rest and all(line.startswith("    ") for line in rest if line):  # A type, and below it what it holds.
                first, *rest = dedent("\n".join(rest)).splitlines()
            lines = "".join(f"    {line}\n" for line in (first, *rest))
            return f"Returns\n-------\n:\n{lines}\n"
        if rest := ITEM.sub("", f"{body}\n").strip():
            log.warning(f"{path}: {name} hold {rest!r}, which is not 'name : meaning'")
        items = [(each, text) for names, text in ITEM.findall(f"{body}\n") for each in names.split(", ")]
        return f"{name}\n{'-' * len(name)}\n" + "".join(f"{each}\n    {text.rstrip()}\n" for each, text in items) + "\n"

    return SECTION.sub(one, text)


def _link(obj: Object, target: str, pkg: Module) -> str:
    """Return a link to what a role names, which is a link only where the reference has an entry of it."""
    path, scope = target, obj if obj.is_class or obj.is_module else obj.parent
    if not target.startswith("asymjax."):
        if scope.is_class and target in scope.inherited_members:
            path = scope.inherited_members[target].target_path
        else:
            try:
                path = scope.resolve(target)
            except NameResolutionError:
                log.warning(f"{obj.path}: there is no {target}")
    try:
        pkg[path.removeprefix("asymjax.")]
    except KeyError:
        log.warning(f"{obj.path}: there is no {path}")
    return f'<autoref optional identifier="{path}"><code>{path.rpartition(".")[2]}</code></autoref>'
