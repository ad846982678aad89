"""The public names: imported when they are used, and with examples that run."""

import doctest
import importlib

import pytest

import asymjax


@pytest.mark.parametrize("name", asymjax.__all__)
def test_examples_run(name):
    public = getattr(asymjax, name)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    case = parser.get_doctest(public.__doc__ or "", {}, name, None, 0)
    assert case.examples
    assert runner.run(case, out=print).failed == 0


def test_every_public_name_is_where_it_is_said_to_be():
    for name in asymjax.__all__:
        home = importlib.import_module(asymjax._MODULE_OF[name])
        assert getattr(home, name) is getattr(asymjax, name)
    with pytest.raises(AttributeError, match=r"no attribute 'smaple'; it has .*sample"):
        asymjax.smaple  # noqa: B018


def test_importing_the_package_imports_no_jax(python):
    code = "import sys, asymjax; print('jax' in sys.modules, 'sample' in dir(asymjax))"
    assert python("-c", code).stdout == "False True\n"


def test_devices_can_be_configured_and_models_built_before_a_backend_starts(python):
    code = (
        "import asymjax; asymjax.configure_host_devices(); asymjax.WAsym, asymjax.from_flax, asymjax.find_symmetries;"
        "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    )
    assert python("-c", code).stdout == "False\n"
