#!/usr/bin/env python3
"""Writes a reference file for `npm run bench -- e2e` by running a checkpoint's own modelling code in transformers.

    pip install torch transformers==4.57.6 pillow
    tools/reference.py --model DIR --cases FILE --out FILE [--code DIR] [--dtype T] [--device D] [--logits full|top64]

CASES is a JSON list of prompts. Pictures are relative to the file and stand for <image> in the text (-200 in ids):

    [{"name": "chart", "text": "<image>\\nWhich year was best?", "images": ["chart.png"], "mode": "nothink", "steps": 32},
     {"name": "raw", "ids": [5, 17, -200, 9], "images": ["chart.png"], "forced": [3, 1, 4]}]

text is rendered through the folder's chat template; a conversation has messages instead, a list of {"role", "content"}
where earlier answers stand without their thinking. mode is hybrid, think or nothink. forced is a continuation to feed token
by token; by default 16 tokens drawn with the seed and the case's name. bench/expected.ts says what is written.
"""
import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import re
import sys
import time
from pathlib import Path

TOP = 64  # logits kept of each step with --logits top64
FORCED = 16  # length of a drawn continuation
IMAGE = -200
CODE = "modeling_phi4_visionr.py"
TOWER = "model.vision_tower."
OPENINGS = {"hybrid": "", "think": "<think>", "nothink": "<|dummy_84|>"}
ROLES = ["user", "assistant", "system"]
FIELDS = {"name", "text", "messages", "ids", "images", "mode", "steps", "forced"}


class Refusal(Exception):
    """What is wrong, and what to do, in one line."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse_arguments():
    description, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="model folder; a hub id is refused")
    parser.add_argument("--cases", required=True, metavar="FILE", type=Path, help="JSON list of prompts")
    parser.add_argument("--out", required=True, metavar="FILE", type=Path, help="reference file to write (.safetensors)")
    parser.add_argument("--code", metavar="DIR", type=Path, help=f"folder of {CODE} (default: the model folder)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", default=24, metavar="N", type=int, help="tokens per case without steps (default: 24)")
    parser.add_argument("--logits", default="full", choices=["full", "top64"], help="what to keep of each step")
    parser.add_argument("--rows", default=64, metavar="N", type=positive, help="rows kept of each stage of a picture (default: 64)")
    parser.add_argument("--seed", default=0, metavar="N", type=int, help="seed of the forced continuations (default: 0)")
    return parser.parse_args()


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


# The cases


def read_cases(path, default_steps):
    """The cases with every field filled in but ids; images as paths."""
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(f"{path}: expected JSON, got {error}") from error
    if not isinstance(cases, list) or not cases:
        raise Refusal(f"{path}: expected a list of cases, got {str(cases):.80}; see --help")
    names = set()
    for index, case in enumerate(cases):
        check_case(case, f"{path}: case {index}", names)
        case.setdefault("mode", "hybrid")
        case.setdefault("steps", default_steps)
        if not is_count(case["steps"]) or case["steps"] < 1:
            raise Refusal(f"{path}: case {index}: steps: expected 1 or more, got {case['steps']!r}")
        case["images"] = [path.parent / name for name in case.get("images", [])]
        for image in case["images"]:
            if not image.is_file():
                raise Refusal(f"{path}: case {index}: expected a picture {image}, got no such file")
    return cases


def check_case(case, where, names):
    if not isinstance(case, dict) or not FIELDS.issuperset(case):
        raise Refusal(f"{where}: expected an object with some of {', '.join(sorted(FIELDS))}, got {case!r:.200}")
    name = case.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"(?!img\d+$)[\w-]+", name) or name in names:
        raise Refusal(f"{where}: name: expected letters, digits, _ and -, once only, and not img<number>, got {name!r}")
    names.add(name)
    prompts = [isinstance(case.get("text"), str), is_conversation(case.get("messages")), is_list(case.get("ids"), int)]
    if sum(prompts) != 1 or len({"text", "messages", "ids"}.intersection(case)) != 1:
        raise Refusal(f"{where}: expected one of text (a string), messages (with role and content) and ids (integers)")
    if case.get("mode", "hybrid") not in OPENINGS or ("mode" in case and "ids" in case):
        raise Refusal(f"{where}: mode: expected one of {', '.join(OPENINGS)}, and none with ids, got {case['mode']!r}")
    if not is_list(case.get("images", []), str):
        raise Refusal(f"{where}: images: expected a list of file names, got {case['images']!r:.200}")
    if "forced" in case and not (is_list(case["forced"], int) and case["forced"]):
        raise Refusal(f"{where}: forced: expected a list of token ids, got {case['forced']!r:.200}")


def is_list(value, kind):
    return isinstance(value, list) and all(type(item) is kind for item in value)


def is_conversation(value):
    def is_message(item):
        return item.keys() == {"role", "content"} and item["role"] in ROLES and isinstance(item["content"], str)

    return is_list(value, dict) and bool(value) and all(is_message(item) for item in value)


def is_count(value):
    return type(value) is int and value >= 0


def render(tokenizer, case):
    """Token ids of a text or conversation: every piece between pictures is encoded on its own."""
    messages = case.get("messages") or [{"role": "user", "content": case["text"]}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    opening = OPENINGS[case["mode"]]
    if opening and len(tokenizer(opening).input_ids) != 1:
        raise Refusal(f"{case['name']}: mode {case['mode']}: expected a token {opening}, the tokenizer has none")
    first, *others = [tokenizer(piece).input_ids for piece in (prompt + opening).split("<image>")]
    return sum(([IMAGE, *piece] for piece in others), first)


def check_ids(case, vocab):
    name, ids, marks = case["name"], case["ids"], case["ids"].count(IMAGE)
    if not ids or marks != len(case["images"]):
        raise Refusal(f"{name}: expected tokens and one <image> per picture, got {marks} for {len(case['images'])}")
    wrong = [id for id in ids + case["forced"] if not 0 <= id < vocab and id != IMAGE]
    if wrong or IMAGE in case["forced"]:
        raise Refusal(f"{name}: expected token ids below {vocab}, got {wrong or IMAGE}")


# The model


def check_folder(model, code):
    """Refuses what the modelling code would take as a hub id: it then loads another vision tower than the checkpoint's."""
    folder = Path(model)
    if not (folder / "config.json").is_file():
        raise Refusal(
            f"--model: expected a folder with config.json, got {model!r}; a hub id is not taken, as the official code then "
            "leaves out the checkpoint's own vision tower: download a snapshot and give its folder"
        )
    if not list(folder.glob("*.safetensors")):
        raise Refusal(f"--model: expected weights (*.safetensors) in {folder}, got none; download the snapshot again")
    if not (code / CODE).is_file():
        raise Refusal(f"--code: expected {CODE} in {code}, got no such file; give the folder that has it")
    return folder


def import_transformers():
    os.environ["HF_HUB_OFFLINE"] = "1"
    version = importlib.metadata.version
    # transformers refuses newer releases of huggingface-hub, of which nothing is used here: all files are local.
    importlib.metadata.version = lambda name: "0.36.0" if name in ("huggingface-hub", "huggingface_hub") else version(name)
    try:
        import torch
        import transformers
    except ImportError as error:
        raise Refusal(f"{error}; pip install torch transformers==4.57.6 pillow") from error
    finally:
        importlib.metadata.version = version
    if not transformers.__version__.startswith("4.57."):
        got = transformers.__version__
        raise Refusal(f"transformers: expected 4.57, got {got}: others break the official code; pip install transformers==4.57.6")
    transformers.logging.set_verbosity_error()
    return torch, transformers


def load_model(torch, folder, code, dtype, device):
    spec = importlib.util.spec_from_file_location("modeling_phi4_visionr", code / CODE)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = {"torch_dtype": dtype, "attn_implementation": "sdpa", "local_files_only": True}
    model = module.Phi4ForCausalLMV.from_pretrained(str(folder), **options).eval()
    check_weights(torch, model, folder)
    model.config.tokenizer_model_max_length = None  # the official code would silently cut longer prompts
    return model.to(device)


def check_weights(torch, model, folder):
    """Every tensor of the model must be in the checkpoint, and the vision tower's must equal the checkpoint's."""
    from safetensors import safe_open

    state = model.state_dict()
    missing = set(state)
    compared = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in missing.intersection(file.keys()):
                missing.remove(name)
                if not name.startswith(TOWER):
                    continue
                if not torch.equal(state[name].cpu(), file.get_tensor(name).to(state[name].dtype)):
                    raise Refusal(f"{name}: expected the checkpoint's weights, got others: the vision tower is not its own")
                compared += 1
    if missing or compared == 0:
        raise Refusal(f"{folder}: expected all of the model's tensors, got none for {sorted(missing)[:3] or TOWER}")
    say(f"vision tower: all {compared} tensors equal the checkpoint's")


@contextlib.contextmanager
def taps(layers, keep):
    """Collects keep(what each layer returns) while the block runs."""
    kept = []
    hook = lambda _layer, _inputs, output: kept.append(keep(output[0] if isinstance(output, tuple) else output))
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


# The tensors


def picture_stages(torch, model, key, image, most):
    """The stages of one picture, its first rows, at most so many; and its number of patches."""
    tower = model.get_vision_tower()
    batch = tower.image_processor([image], return_tensors="pt")
    patches = int(batch["pixel_attention_mask"][0].sum())
    encoder = tower.vision_tower.vision_model.encoder.layers
    with taps(encoder, lambda output: output[0, :most]) as layers:
        features = tower(batch)[0]
    used = len(encoder) + 1 + tower.select_layer
    rows = min(patches, most)
    stages = {f"{key}.layers.{i}": layer[:rows] for i, layer in enumerate(layers[:used])}
    stages[f"{key}.spatial"] = batch["spatial_shapes"][0].to(torch.int32)
    stages[f"{key}.pixel_values"] = batch["pixel_values"][0][:rows]
    stages[f"{key}.vis_sel"] = features[:rows]
    stages[f"{key}.proj"] = model.get_model().mm_projector(features)[:rows]
    return stages, patches


def prompt_stages(torch, model, case, pictures, indices, patches, form):
    """The tensors of one case: the residual stream of the prompt's last position, and both continuations."""
    name = case["name"]
    ids = torch.tensor([case["ids"]], device=model.device)
    images = model.get_vision_tower().image_processor(pictures, return_tensors="pt") if pictures else None
    with taps(model.get_model().layers, lambda output: output[0, -1]) as layers:
        result = model(input_ids=ids.clone(), images=images, use_cache=True, logits_to_keep=1)
    length = result.past_key_values.get_seq_length()
    if length != len(case["ids"]) + sum(patches) - len(patches):
        raise Refusal(f"{name}: expected {len(case['ids'])} tokens and {sum(patches)} patches, got {length} positions")
    stages = {f"{name}.layers.{i}": layer for i, layer in enumerate(layers)}
    greedy, step_logits = decode(torch, model, result, case["steps"])
    result.past_key_values.crop(length)
    forced, forced_logits = decode(torch, model, result, len(case["forced"]), case["forced"])
    for rows in step_logits, forced_logits:
        if not rows.isfinite().all():
            raise Refusal(f"{name}: expected finite logits, got others in {model.dtype}; use float32 or bfloat16")
    best = step_logits.topk(2).values
    integers = {"ids": case["ids"], "images": indices or [-1], "len": [length], "greedy": greedy, "forced": forced}
    stages |= {f"{name}.{key}": torch.tensor(value, dtype=torch.int32) for key, value in integers.items()}
    stages[f"{name}.margins"] = best[:, 0] - best[:, 1]
    if form == "full":
        stages[f"{name}.logits"] = step_logits[0]
    return stages | pack(torch, f"{name}.step", step_logits, form) | pack(torch, f"{name}.forced", forced_logits, form)


def decode(torch, model, prompt, steps, forced=None):
    """Tokens, the likeliest or the forced ones, and the logits f32 [steps, vocab] before each."""
    cache, logits = prompt.past_key_values, prompt.logits
    tokens, rows = [], []
    for step in range(steps):
        rows.append(logits[0, -1].float().cpu())
        tokens.append(forced[step] if forced else int(rows[-1].argmax()))
        if step + 1 < steps:
            ids = torch.tensor([[tokens[-1]]], device=model.device)
            logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits
    return tokens, torch.stack(rows)


def pack(torch, prefix, logits, form):
    """The logits [steps, vocab] as they are stored."""
    if form == "full":
        return {f"{prefix}_logits": logits}
    values, ids = (part[:, :TOP] for part in logits.sort(descending=True, stable=True))
    wide = logits.double()
    stats = [wide.logsumexp(-1), wide.mean(-1), wide.std(-1, correction=0), wide.abs().amax(-1)]
    return {
        f"{prefix}_top_logits": values,
        f"{prefix}_top_ids": ids.to(torch.int32),
        f"{prefix}_stats": torch.stack(stats, -1),
    }


def make_tensors(torch, model, cases, arguments):
    """All tensors of the reference, and the pictures' paths in the order of their indices."""
    from PIL import Image

    limit = model.config.max_position_embeddings
    tensors, order, patches = {}, {}, []
    for number, case in enumerate(cases, 1):
        start = time.monotonic()
        pictures = []
        for path in case["images"]:
            with Image.open(path) as file:
                pictures.append(file.convert("RGB"))
            if path not in order:
                order[path] = len(order)
                stages, count = picture_stages(torch, model, f"img{order[path]}", pictures[-1], arguments.rows)
                tensors |= keep(torch, stages)
                patches.append(count)
        indices = [order[path] for path in case["images"]]
        counts = [patches[index] for index in indices]
        positions = len(case["ids"]) - len(counts) + sum(counts) + max(case["steps"], len(case["forced"]))
        if positions > limit:
            raise Refusal(f"{case['name']}: expected at most {limit} positions with the answer, got {positions}")
        tensors |= keep(torch, prompt_stages(torch, model, case, pictures, indices, counts, arguments.logits))
        length, margin = int(tensors[f"{case['name']}.len"]), float(tensors[f"{case['name']}.margins"].min())
        took = time.monotonic() - start
        say(f"{number}/{len(cases)} {case['name']}: {length} positions, smallest margin {margin:.3g} ({took:.1f} s)")
    return tensors, list(order)


def keep(torch, stages):
    """Host copies, integers as they are and the rest in float32."""
    return {
        name: (tensor if tensor.dtype == torch.int32 else tensor.float()).cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in stages.items()
    }


def relative(path, base):
    try:
        return Path(os.path.relpath(path.resolve(), base)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.name


def describe(torch, transformers, arguments, cases, pictures):
    """The metadata: what made the file; no absolute path."""
    base = arguments.cases.resolve().parent
    shown = [{**case, "images": [relative(path, base) for path in case["images"]]} for case in cases]
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "dtype": arguments.dtype,
        "device": arguments.device if arguments.device == "cpu" else f"cuda ({torch.cuda.get_device_name()})",
        "model": Path(arguments.model).resolve().name,
        "seed": str(arguments.seed),
        "logits": arguments.logits,
        "cases": json.dumps([{key: case[key] for key in case if key not in ("ids", "forced")} for case in shown]),
        "cases_folder": relative(base, arguments.out.resolve().parent),
        "pictures": json.dumps([relative(path, base) for path in pictures]),
    }


def run(arguments):
    code = arguments.code or Path(arguments.model)
    folder = check_folder(arguments.model, code)
    cases = read_cases(arguments.cases, arguments.steps)
    part = arguments.out.with_name(f"{arguments.out.name}.{os.getpid()}.part")
    try:
        part.touch()  # better to fail now than after hours
        torch, transformers = import_transformers()
        say(f"torch {torch.__version__}, transformers {transformers.__version__}, python {platform.python_version()}")
        if arguments.device == "cuda" and not torch.cuda.is_available():
            raise Refusal("--device: expected a GPU for cuda, got a torch that finds none; use cpu")
        model = load_model(torch, folder, code, getattr(torch, arguments.dtype), arguments.device)
        complete_cases(transformers, model.config.vocab_size, folder, cases, arguments.seed)
        with torch.inference_mode():
            tensors, pictures = make_tensors(torch, model, cases, arguments)
        from safetensors.torch import save_file

        mode = part.stat().st_mode
        save_file(tensors, part, metadata=describe(torch, transformers, arguments, cases, pictures))
        part.chmod(mode)  # safetensors makes files that only their owner may read
        part.replace(arguments.out)
        say(f"{arguments.out}: {len(tensors)} tensors, {arguments.out.stat().st_size / 2**20:.1f} MiB")
    finally:
        part.unlink(missing_ok=True)


def complete_cases(transformers, vocab, folder, cases, seed):
    """Fills in the ids of texts and the forced continuations."""
    tokenizer = None
    for case in cases:
        if "ids" not in case:
            tokenizer = tokenizer or transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            case["ids"] = render(tokenizer, case)
        draw = random.Random(f"{seed} {case['name']}")
        case.setdefault("forced", [draw.randrange(vocab) for _ in range(FORCED)])
        check_ids(case, vocab)


def main():
    arguments = parse_arguments()
    try:
        run(arguments)
    except (Refusal, OSError, MemoryError) as error:
        say(f"error: {error or 'out of memory'}")
        return 2
    except RuntimeError as error:  # torch's own, out of memory included
        say(f"error: {type(error).__name__}: {str(error).splitlines()[0]}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
