"""Sizes of the checkpoint, its special tokens, and the files of its folder apart from the weights."""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB, HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 576, 192, 512, 4, 6, 2, 32
VISION_HIDDEN, VISION_FFN, VISION_LAYERS, VISION_HEADS = 128, 384, 5, 4  # features leave before the last layer
PATCH, MIN_PATCHES, MAX_PATCHES = 16, 36, 64  # smaller pictures are enlarged
GRID = 16  # side of the table of positions
EPSILON, THETA = 1e-5, 500000.0
SPECIAL = [
    "<|im_start|>",
    "<|im_sep|>",
    "<think>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|dummy_85|>",
    "</think>",
    "<|dummy_84|>",
]
IM_START, IM_SEP, THINK, END_OF_TEXT, IM_END, PAD, END_THINK, NO_THINK = range(VOCAB - len(SPECIAL), VOCAB)
SYSTEM = "Look and answer."

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEMPLATE = (
    "<|im_start|>system<|im_sep|>" + SYSTEM + "<|im_end|>\n"
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>' }}\n"
    "{% elif message['role'] == 'assistant' %}<|im_start|>assistant<|im_sep|>\n"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}\n{% endif %}"
)


def make_tokenizer(sentences):
    """A byte-level BPE tokenizer of VOCAB tokens whose merges come from the sentences; special tokens stand last."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=IM_START, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(sentences, trainer)
    if tokenizer.get_vocab_size() != IM_START:
        raise ValueError(
            f"tokenizer: expected {IM_START} tokens, got {tokenizer.get_vocab_size()}; give more sentences"
        )
    tokenizer.add_tokens([special(content) for content in SPECIAL])
    return tokenizer


def special(content):
    """An added token; like the published model's, those of the template swallow the spaces around them."""
    marker = content not in ("<think>", "</think>")
    return AddedToken(content, lstrip=marker, rstrip=marker, normalized=False, special=marker)


def write_folder(folder, sentences):
    """Writes the folder's files apart from the weights, and returns the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(sentences)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    for name, content in FILES.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    return tokenizer


def read_tokenizer(folder):
    """The tokenizer of a folder that write_folder made."""
    return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


FILES = {
    "config.json": {
        "architectures": ["Phi4ForCausalLMV"],
        "model_type": "phi4-siglip",
        "dtype": "bfloat16",
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 32768,
        "original_max_position_embeddings": 32768,
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "rope_scaling": None,
        "partial_rotary_factor": 1.0,
        "sliding_window": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": False,
        "initializer_range": 0.02,
        "bos_token_id": END_OF_TEXT,
        "eos_token_id": IM_END,
        "pad_token_id": PAD,
        "mm_vision_tower": "google/siglip2-so400m-patch16-naflex",
        "mm_hidden_size": VISION_HIDDEN,
        "mm_projector_type": "mlp2x_gelu",
        "min_num_patches": MIN_PATCHES,
        "max_num_patches": MAX_PATCHES,
        "tokenizer_model_max_length": 8192,
        "tokenizer_padding_side": "right",
        "vision_config": {
            "model_type": "siglip2_vision_model",
            "hidden_size": VISION_HIDDEN,
            "intermediate_size": VISION_FFN,
            "num_attention_heads": VISION_HEADS,
            "num_hidden_layers": VISION_LAYERS,
        },
    },
    "generation_config.json": {
        "bos_token_id": END_OF_TEXT,
        "do_sample": False,
        "eos_token_id": [IM_END],
        "pad_token_id": PAD,
    },
    "preprocessor_config.json": {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "Siglip2ImageProcessorNoUpscale",
        "max_num_patches": MAX_PATCHES,
        "min_num_patches": MIN_PATCHES,
        "patch_size": PATCH,
        "processor_class": "Phi4VisionRProcessor",
        "rescale_factor": 1 / 255,
        "resample": 2,
    },
    "tokenizer_config.json": {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|dummy_85|>",
        "unk_token": "<|endoftext|>",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
    },
}
