"""Times x w^T in f16 with the device's own library: one JSON line per [rows, inner, outs] of the JSON list in the first argument."""
import json
import sys

try:
    import torch
except ImportError:
    print("PyTorch is not installed: nothing to stand beside")
    sys.exit(0)
if not torch.cuda.is_available():
    print("PyTorch finds no GPU: nothing to stand beside")
    sys.exit(0)
for rows, inner, outs in json.loads(sys.argv[1]):
    x = torch.randn(rows, inner, dtype=torch.float16, device="cuda")
    copies = max(1, -(-3 * 64 * 2**20 // (inner * outs * 2)))  # weights come out of memory, as ours do
    weights = [torch.randn(outs, inner, dtype=torch.float16, device="cuda") for _ in range(copies)]
    times = []
    for i in range(13):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        torch.nn.functional.linear(x, weights[i % copies])
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * start.elapsed_time(end))
    print(json.dumps({"shape": [rows, inner, outs], "micros": sorted(times[3:])[5]}), flush=True)
