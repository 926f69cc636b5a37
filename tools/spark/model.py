"""The architecture in plain PyTorch, with the names of the official checkpoint; fast on few CPU cores."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from . import settings as S
from .batches import IGNORED, IMAGE, SLOTS
from .drawing import COLORS, KINDS

UNUSED = f"encoder.layers.{S.VISION_LAYERS - 1}.", "post_layernorm.", "head."  # part of the layout, without effect


def attend(queries, keys, values, mask):
    """Softmax attention written out: on CPUs its backward pass in bf16 is faster than the fused kernel's."""
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2) + mask
    return scores.softmax(-1) @ values


def additive(sees, dtype):
    """A mask of booleans as what is added to scores."""
    return torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, -1e30)


class VisionAttention(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(S.VISION_HIDDEN, S.VISION_HIDDEN))

    def forward(self, x, mask):
        split = lambda y: y.view(*y.shape[:2], S.VISION_HEADS, -1).transpose(1, 2)
        out = attend(split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x)), mask)
        return self.out_proj(out.transpose(1, 2).reshape(x.shape))


class VisionMlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(S.VISION_HIDDEN, S.VISION_FFN)
        self.fc2 = nn.Linear(S.VISION_FFN, S.VISION_HIDDEN)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class VisionLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(S.VISION_HIDDEN, 1e-6) for _ in range(2))
        self.self_attn, self.mlp = VisionAttention(), VisionMlp()

    def forward(self, x, mask):
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class VisionEmbeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_embedding = nn.Linear(3 * S.PATCH**2, S.VISION_HIDDEN)
        self.position_embedding = nn.Embedding(S.GRID**2, S.VISION_HIDDEN)

    def forward(self, pixels, position_weights):
        dtype = self.patch_embedding.weight.dtype
        values = ((pixels.float() * (1 / 255) - 0.5) / 0.5).to(dtype)
        return self.patch_embedding(values) + position_weights.to(dtype) @ self.position_embedding.weight


class PoolingHead(nn.Module):
    """Part of the checkpoint's layout only."""

    def __init__(self):
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, S.VISION_HIDDEN))
        self.attention = nn.MultiheadAttention(S.VISION_HIDDEN, S.VISION_HEADS)
        self.layernorm, self.mlp = nn.LayerNorm(S.VISION_HIDDEN, 1e-6), VisionMlp()


class VisionModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = VisionEmbeddings()
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(VisionLayer() for _ in range(S.VISION_LAYERS))})
        self.post_layernorm, self.head = nn.LayerNorm(S.VISION_HIDDEN, 1e-6), PoolingHead()

    def forward(self, batch):
        """Features [patches of all pictures, VISION_HIDDEN] before the last layer."""
        x = self.embeddings(batch["pixels"], batch["position_weights"])
        mask = additive(batch["real"][:, None, None], x.dtype)
        for layer in self.encoder["layers"][:-1]:
            x = layer(x, mask)
        return x[batch["real"]]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv_proj = nn.Linear(S.HIDDEN, (S.HEADS + 2 * S.KV_HEADS) * S.HEAD_DIM, bias=False)
        self.o_proj = nn.Linear(S.HEADS * S.HEAD_DIM, S.HIDDEN, bias=False)

    def forward(self, x, mask, cos, sin):
        """Attention before o_proj."""
        qkv = self.qkv_proj(x).view(*x.shape[:2], -1, S.HEAD_DIM).transpose(1, 2)
        queries_keys = rotate(qkv[:, : S.HEADS + S.KV_HEADS], cos, sin)
        keys, values = queries_keys[:, S.HEADS :], qkv[:, S.HEADS + S.KV_HEADS :]
        keys, values = (part.repeat_interleave(S.HEADS // S.KV_HEADS, 1) for part in (keys, values))
        out = attend(queries_keys[:, : S.HEADS], keys, values, mask)
        return out.transpose(1, 2).reshape(*x.shape[:2], -1)


def rotate(x, cos, sin):
    """Rotary embedding, pairs half a head apart."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up_proj = nn.Linear(S.HIDDEN, 2 * S.FFN, bias=False)
        self.down_proj = nn.Linear(S.FFN, S.HIDDEN, bias=False)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(up * F.silu(gate))


class DecoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn, self.mlp = Attention(), Mlp()
        self.input_layernorm, self.post_attention_layernorm = (nn.RMSNorm(S.HIDDEN, S.EPSILON) for _ in range(2))

    def forward(self, x, mask, cos, sin, wanted=None):
        """The residual stream [rows, tokens, HIDDEN], or [wanted, HIDDEN] of the wanted flat positions."""
        out = self.self_attn(self.input_layernorm(x), mask, cos, sin)
        if wanted is not None:
            x, out = x.flatten(0, 1)[wanted], out.flatten(0, 1)[wanted]
        x = x + self.self_attn.o_proj(out)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(S.VOCAB, S.HIDDEN)
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(S.LAYERS))
        self.norm = nn.RMSNorm(S.HIDDEN, S.EPSILON)
        vision = nn.ModuleDict({"vision_model": VisionModel()})
        self.vision_tower = nn.ModuleDict({"vision_tower": vision})
        self.mm_projector = nn.Sequential(
            nn.Linear(S.VISION_HIDDEN, S.HIDDEN), nn.GELU(), nn.Linear(S.HIDDEN, S.HIDDEN)
        )


class Spark(nn.Module):
    """The network; its state has exactly the tensors of an official checkpoint."""

    def __init__(self, seed=0):
        super().__init__()
        self.model = Body()
        self.lm_head = nn.Linear(S.HIDDEN, S.VOCAB, bias=False)
        initialise(self, seed)
        frequencies = S.THETA ** (-torch.arange(0, S.HEAD_DIM, 2) / S.HEAD_DIM)
        angles = torch.cat([torch.arange(4096)[:, None] * frequencies] * 2, 1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def see(self, batch):
        """Features of all pictures of a batch, or None without any."""
        return self.model.vision_tower["vision_tower"]["vision_model"](batch) if "pixels" in batch else None

    def forward(self, batch, features, wanted):
        """Logits f32 [wanted, VOCAB] at the wanted flat positions."""
        body, ids = self.model, batch["ids"]
        x = body.embed_tokens(ids.clamp(min=0))
        if features is not None:
            at = (ids.flatten() == IMAGE).nonzero()[:, 0]
            x = x.flatten(0, 1).index_copy(0, at, body.mm_projector(features)).view(x.shape)
        cos, sin = (table[batch["positions"]].to(x.dtype)[:, None] for table in (self.cos, self.sin))
        mask = additive(batch["sees"], x.dtype)
        for layer in body.layers[:-1]:
            x = layer(x, mask, cos, sin)
        x = body.layers[-1](x, mask, cos, sin, wanted)  # the rest of the last layer is needed nowhere
        return self.lm_head(body.norm(x)).float()


def initialise(model, seed):
    """Random weights from a seed; what is added to a residual stream begins small."""
    generator = torch.Generator().manual_seed(seed)
    small = ("out_proj.weight", "o_proj.weight", "fc2.weight", "down_proj.weight")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "position_embedding" in name:
                weight.copy_(smooth_positions())
            elif "head." in name and "lm_head" not in name:
                weight.fill_(1.0 if name.endswith("layernorm.weight") else 0.0)
            elif "embed_tokens" in name:
                weight.normal_(0, 0.5, generator=generator)
            elif weight.ndim == 2:
                scale = 0.4 if name.endswith(small) else 0.3 if "lm_head" in name else 1.0
                weight.normal_(0, scale / math.sqrt(weight.shape[1]), generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
            if any(part in name for part in UNUSED) and "lm_head" not in name:
                weight.requires_grad = False


def smooth_positions():
    """Waves over the grid: random rows would average out when the table is resized to a few patches."""
    frequencies = torch.logspace(math.log10(0.25), math.log10(5), S.VISION_HIDDEN // 4)
    angles = ((torch.arange(S.GRID) + 0.5) / S.GRID * 2 * math.pi)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], 1) * 0.5
    rows, columns = waves[:, None].expand(S.GRID, S.GRID, -1), waves[None].expand(S.GRID, S.GRID, -1)
    return torch.cat([rows, columns], 2).reshape(S.GRID**2, S.VISION_HIDDEN)


class PatchReader(nn.Module):
    """Tells from the features of a patch what it shows: teaches the vision tower and is thrown away after training."""

    def __init__(self, seed=0):
        super().__init__()
        self.sizes = [len(KINDS)] * SLOTS + [5, len(COLORS), 4, 40]
        self.head = nn.Linear(S.VISION_HIDDEN, sum(self.sizes))
        with torch.no_grad():
            self.head.weight.normal_(0, S.VISION_HIDDEN**-0.5, generator=torch.Generator().manual_seed(seed + 1))
            self.head.bias.zero_()
        weights = torch.ones(len(KINDS))
        weights[0] = 0.15  # most patches show nothing
        self.register_buffer("kind_weights", weights, persistent=False)

    def forward(self, features, batch):
        """The auxiliary loss: kinds, order, colour and the tenths of boxes as classes, boxes by distance, too."""
        *kinds, order, color, boxes, tenths = self.head(features).float().split(self.sizes, 1)
        marked = batch["order"] >= 0
        if not marked.any():
            return features.sum() * 0.0
        loss = F.cross_entropy(kinds[0], batch["kinds"][:, 0], self.kind_weights)
        for slot in range(1, SLOTS):
            loss = loss + F.cross_entropy(kinds[slot][marked], batch["kinds"][marked, slot], self.kind_weights)
        loss = loss + 0.5 * F.cross_entropy(order[marked], batch["order"][marked])
        if (batch["color"] >= 0).any():
            loss = loss + 0.5 * F.cross_entropy(color, batch["color"], ignore_index=-1)
        boxed = ~batch["boxes"][:, 0].isnan()
        if boxed.any():
            wanted = batch["boxes"][boxed]
            loss = loss + 4 * F.l1_loss(boxes[boxed], wanted)
            digits = (wanted * 10).long().clamp(0, 9)  # what an answer says first of an edge
            loss = loss + 0.3 * F.cross_entropy(tenths[boxed].view(-1, 10), digits.view(-1))
        return loss


def answer_loss(model, batch, features):
    """Mean cross-entropy of the answers' tokens; 0 where nothing is asked."""
    labels = batch["labels"].flatten()
    wanted = (labels != IGNORED).nonzero()[:, 0]
    return F.cross_entropy(model(batch, features, wanted), labels[wanted], reduction="sum") / max(1, len(wanted))
