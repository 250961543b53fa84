"""PyTorch on the GPU, as the peer of scripts/gpu-check: copies, bf16 products, attention by FlashAttention-2, MiniLM in eager mode
(the folder of the model is the argument). A JSON line per measurement; what cannot be had is a line with the reason."""
import json
import statistics
import sys

import torch


def ms(work, rounds=15):
    for _ in range(3):
        work()
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def tell(op, **figures):
    print(json.dumps({"op": op, "peer": f"PyTorch {torch.__version__}", **figures}), flush=True)


@torch.inference_mode()
def main():
    n = 1 << 28
    x, y = torch.rand(n, device="cuda"), torch.empty(n, device="cuda")
    t = ms(lambda: y.copy_(x))
    tell("copy", ms=t, gbps=8 * n / t / 1e6)
    del x, y
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        a, b = (torch.rand(8192, 8192, device="cuda").sub(0.5).to(dtype) for _ in range(2))
        t = ms(lambda: a @ b)
        tell(f"matmul 8192 {dtype}", ms=t, tflops=2 * 8192**3 / t / 1e9)
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for s in (512, 1024, 2048, 4096, 8192, 16384):
        for d in (64, 128):
            q, k, v = (torch.rand(16384 // s, 2048 // d, s, d, device="cuda").sub(0.5).bfloat16() for _ in range(3))
            for causal in (False, True):
                op = f"attention bf16 {s}×{d}{' causal' if causal else ''}"
                try:
                    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                        t = ms(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal))
                    tell(op, ms=t, tflops=4 * 16384 * 2048 * s * (0.5 if causal else 1) / t / 1e9)
                except RuntimeError as e:
                    tell(op, why=str(e).splitlines()[0])
    try:
        from transformers import BertModel

        ids = torch.tensor([[1000 + (b * 128 + i) * 7919 % 20000 for i in range(128)] for b in range(32)], device="cuda")
        for dtype in (torch.float32, torch.float16):
            model = BertModel.from_pretrained(sys.argv[1], dtype=dtype).cuda().eval()
            tell(f"minilm 32x128 {dtype}", ms=ms(lambda: model(ids).last_hidden_state.mean(1)))
    except Exception as e:
        tell("minilm 32x128", why=f"{type(e).__name__}: {e}")


main()
