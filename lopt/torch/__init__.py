"""Bundles as PyTorch optimizers; nothing is computed by JAX, and no device taken by it.

    optimizer = lopt.torch.LearnedOptimizer(model.parameters(), "general", num_steps=1000)
    ...
    with optimizer.evaluation():  # of a schedule-free rule: with the average of the parameters
        torch.save(model.state_dict(), "model.pt")

Needs PyTorch (``pip install 'lopt[torch]'``), which ``import lopt`` does not. It knows the rules
``mlp``, ``adafac_mlp``, and ``schedule_free_mlp`` without its network, which that of "general" is.
The steps are those of ``lopt.load`` up to rounding (tests/lopt/test_torch.py).
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from lopt import bundle
from lopt.adafac_mlp import AdafacMLPLopt
from lopt.mlp import MLPLopt
from lopt.schedule_free_mlp import ScheduleFreeMLPLopt
from lopt.torch.mlp import AdafacMLP, PlainMLP
from lopt.torch.schedule_free import ScheduleFree

__all__ = ["LearnedOptimizer"]

RULES: dict[type, Callable[..., Any]] = {
    MLPLopt: PlainMLP,
    AdafacMLPLopt: AdafacMLP,
    ScheduleFreeMLPLopt: ScheduleFree,
}


class LearnedOptimizer(torch.optim.Optimizer):
    """A learned optimizer; there is nothing to tune.

    Args:
        params: parameters, or groups of them, of floating point.
        path: of the bundle, or its name, as ``lopt.load`` takes it.
        num_steps: of the training to come; by default the horizon in the bundle. ``mlp`` and
            ``adafac_mlp`` do not look at it.

    Raises:
        ValueError: as ``lopt.load``, and where the bundle's rule is not known here.
    """

    def __init__(
        self,
        params: Iterable[Any],
        path: str | os.PathLike[str],
        num_steps: int | None = None,
    ) -> None:
        optimizer, theta, card = bundle.read(path)
        if type(optimizer) not in RULES:
            known = ", ".join(kind.__name__ for kind in RULES)
            raise ValueError(
                f"{path} holds a {type(optimizer).__name__}, but lopt.torch knows {known} alone; "
                "use lopt.load with JAX."
            )
        weights = {name: torch.tensor(x) for name, x in bundle.flatten(theta).items()}
        horizon = card.get("horizon") if num_steps is None else num_steps
        self.rule = RULES[type(optimizer)](optimizer, weights, horizon)
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, value: Any = None) -> Any:
        """Take one step.

        Args:
            closure: computes the loss and its gradients anew.
            value: the training loss, at which some rules look; by default that of the closure.

        Returns:
            The loss of the closure, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        value = loss if value is None else value
        value = None if value is None else float(value)
        self.rule.num_params = sum(p.numel() for g in self.param_groups for p in g["params"])
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and param.numel():
                    state, grad = self.state[param], param.grad.float()
                    if not state:
                        state.update(step=0, **self.rule.init(grad))
                    move = self.rule.step(grad, param.float(), state, value)
                    param.add_(move.to(param.dtype))
                    state["step"] += 1
        return loss

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """Within this context the parameters are those to validate, test and deploy.

        They are the average that ``schedule_free_mlp`` keeps; other rules keep none.
        """
        kept = {param: param.detach().clone() for param, x in self.state.items() if "lead" in x}
        with torch.no_grad():
            for param in kept:
                param.copy_(param.float() - self.state[param]["lead"])
        try:
            yield
        finally:
            with torch.no_grad():
                for param, trained in kept.items():
                    param.copy_(trained)
