"""Muon for the matrices, AdamW for the rest; every process holds all of it, and they share the orthogonalising."""

import torch
import torch.distributed as dist


def orthogonalised(matrix):
    """Roughly the nearest matrix with singular values 1, by five Newton-Schulz steps in bf16."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = (x.T if tall else x).bfloat16()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if tall else x).float()


def is_hidden_matrix(name, weight):
    return weight.ndim == 2 and not any(
        part in name for part in ("embed_tokens", "lm_head", "position_embedding", "reader")
    )


class Optimizer:
    """One step of both, with gradients already averaged over the processes."""

    def __init__(self, parameters, rank, world, adam_rate=3e-3, muon_rate=0.02):
        self.matrices = {name: weight for name, weight in parameters.items() if is_hidden_matrix(name, weight)}
        self.momenta = {name: torch.zeros_like(weight) for name, weight in self.matrices.items()}
        others = [weight for name, weight in parameters.items() if name not in self.matrices]
        groups = [
            {"params": [weight for weight in others if weight.ndim == 2], "weight_decay": 0.01},
            {"params": [weight for weight in others if weight.ndim != 2], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(groups, lr=adam_rate, betas=(0.9, 0.98), fused=True)
        self.rank, self.world, self.adam_rate, self.muon_rate = rank, world, adam_rate, muon_rate

    @torch.no_grad()
    def step(self, scale):
        """Updates every weight that has a gradient, at a share of the full learning rates, and drops the gradients."""
        for group in self.adam.param_groups:
            group["lr"] = scale * self.adam_rate
        names = [name for name, weight in self.matrices.items() if weight.grad is not None]
        updates = self.muon_updates(names)
        for name in names:
            weight = self.matrices[name]
            weight.mul_(1 - 0.05 * scale * self.muon_rate).add_(updates[name], alpha=-scale * self.muon_rate)
            weight.grad = None
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def muon_updates(self, names):
        """The updates of all matrices, each computed by one process."""
        flat = torch.zeros(sum(self.matrices[name].numel() for name in names))
        updates = dict(zip(names, flat.split([self.matrices[name].numel() for name in names])))
        for index, name in enumerate(names):
            gradient = self.matrices[name].grad
            self.momenta[name].lerp_(gradient, 0.05)
            if index % self.world == self.rank:
                rows, columns = gradient.shape
                update = orthogonalised(gradient.lerp(self.momenta[name], 0.95)) * max(1, rows / columns) ** 0.5
                updates[name].copy_(update.flatten())
        if self.world > 1 and names:
            dist.all_reduce(flat)
        return {name: update.view_as(self.matrices[name]) for name, update in updates.items()}

    def state(self):
        return {"adam": self.adam.state_dict(), "momenta": self.momenta}

    def load(self, state):
        self.adam.load_state_dict(state["adam"])
        for name, momentum in state["momenta"].items():
            self.momenta[name].copy_(momentum)
