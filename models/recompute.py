"""Layers that keep their inputs and outputs alone, and run again when the gradient asks for what lay between.

Twice the forward work for a fraction of the memory: of convolution, batch norm and neurons in a row only the
spikes stay. Gradients are the same to the bit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

Inputs = Mapping[str, Sequence[str]]


def groups(inputs: Inputs, spiking: Sequence[str]) -> list[list[str]]:
    """The parts, each with those that it feeds and nothing else does; neurons end a group."""
    users: dict[str, int] = {}
    for sources in inputs.values():
        for source in sources:
            users[source] = users.get(source, 0) + 1
    found: list[list[str]] = []
    for name, sources in inputs.items():
        before = found[-1][-1] if found else ""
        if tuple(sources) == (before,) and users[before] == 1 and before not in spiking:
            found[-1].append(name)
        else:
            found.append([name])
    return found


def again(work: Callable[..., Any], modules: Sequence[nn.Module], *inputs: Any) -> Any:
    """work(*inputs), and once more for the gradient; running statistics move the first time only."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _untouched(modules)

    return checkpoint(work, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _untouched(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Buffers are copies meanwhile."""
    all_modules = [module for top in modules for module in top.modules()]
    buffers = [dict(module._buffers) for module in all_modules]
    for module in all_modules:
        module._buffers.update({k: v if v is None else v.clone() for k, v in module._buffers.items()})
    try:
        yield
    finally:
        for module, own in zip(all_modules, buffers, strict=True):
            module._buffers.update(own)
