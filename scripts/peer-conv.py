"""PyTorch's conv2d on request: N C H O K STRIDE PADDING GROUPS, f32, two threads. For each line with a number of runs, it makes
them and answers with a line of their times in milliseconds, so that a program can time itself in turn with it."""
import sys
import time

import torch

n, c, h, o, k, stride, padding, groups = map(int, sys.argv[1:9])
torch.set_num_threads(2)
x, w = torch.rand(n, c, h, h) - 0.5, torch.rand(o, c // groups, k, k) - 0.5
with torch.inference_mode():
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            torch.nn.functional.conv2d(x, w, None, stride, padding, 1, groups)
            times.append((time.perf_counter() - start) * 1e3)
        print(*times, flush=True)
