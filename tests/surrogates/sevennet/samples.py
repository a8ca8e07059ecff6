"""SevenNet by Motherlode's registry."""

from pathlib import Path

from loop.spec import PotentialSpec
from surrogates.registry import load_potential


def potential(model="7net-0", **arguments):
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return load_potential(PotentialSpec(name="sevennet", model=model, arguments=arguments), base=Path.cwd())
