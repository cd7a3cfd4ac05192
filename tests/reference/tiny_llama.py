"""A real OpenAI-compatible server: llama.cpp on a model of one layer and random weights, made on the spot. `FOLDER PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

WORDS = tuple(f"▁{one}{two}" for one in "bdfgklmnprst" for two in ("a", "e", "i", "o", "ar", "en", "is", "ot"))
_WIDTH, _INNER, _HEADS, _CONTEXT = 64, 128, 4, 2048


def make_model(path: Path) -> None:
    """Write the model: all that it ever says is words, and it never ends by itself."""
    chance = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    kind = gguf.TokenType
    tokens = [("<unk>", kind.UNKNOWN), ("<s>", kind.CONTROL), ("</s>", kind.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", kind.BYTE) for byte in range(256)]
    tokens += [(word, kind.NORMAL) for word in WORDS]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([one for _, one in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    def matrix(rows: int, columns: int, scale: float = 0.3) -> np.ndarray:
        return (chance.standard_normal((rows, columns)) * scale).astype(np.float32)

    writer.add_tensor("token_embd.weight", matrix(len(tokens), _WIDTH, 1.0))
    output = np.zeros((len(tokens), _WIDTH), dtype=np.float32)
    output[-len(WORDS) :] = matrix(len(WORDS), _WIDTH, 1.0)
    writer.add_tensor("output.weight", output)
    for name, rows, columns in (
        ("attn_q", _WIDTH, _WIDTH),
        ("attn_k", _WIDTH, _WIDTH),
        ("attn_v", _WIDTH, _WIDTH),
        ("attn_output", _WIDTH, _WIDTH),
        ("ffn_gate", _INNER, _WIDTH),
        ("ffn_up", _INNER, _WIDTH),
        ("ffn_down", _WIDTH, _INNER),
    ):
        writer.add_tensor(f"blk.0.{name}.weight", matrix(rows, columns))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(_WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Serve until stdin ends."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    make_model(folder / "tiny.gguf")
    params = xllamacpp.CommonParams()
    params.model.path = str(folder / "tiny.gguf")
    params.port = port
    params.n_ctx, params.n_parallel, params.warmup = _CONTEXT, 4, False
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main()
