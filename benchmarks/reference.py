"""The reference for fidelity.py: transformers in float32 on the weights of a GGUF, dequantised exactly. Needs PyTorch.

    python benchmarks/reference.py GGUF TOKENIZER PROMPTS OUTPUT COUNT

PROMPTS is a JSON list of rendered prompts. For each of the first COUNT, OUTPUT/N.npy gets the log-probabilities (float32, new tokens x
vocabulary) at every position of its greedy continuation; OUTPUT/answers.json gets the ids of all, and the text up to the model's end token.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

NEW_TOKENS = 24
STOP = (0, 2)


def main(gguf: Path, tokenizer_file: Path, prompts: Path, output: Path, count: int) -> None:
    """Compute and write."""
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    answers = []
    for number, prompt in enumerate(json.loads(prompts.read_text())):
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        with torch.no_grad():
            tensor = torch.tensor([ids])
            mask = torch.ones_like(tensor)
            whole = model.generate(
                tensor, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0
            )[0]
            if number < count:
                logits = model(whole[None]).logits[0, len(ids) - 1 : -1]
                np.save(output / f"{number}.npy", torch.log_softmax(logits, -1).numpy())
        new = whole[len(ids) :].tolist()
        end = next((i for i, token in enumerate(new) if token in STOP), len(new))
        answers.append({"ids": whole.tolist(), "prompt_tokens": len(ids), "text": tokenizer.decode(new[:end])})
    (output / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main(*(Path(argument) for argument in sys.argv[1:5]), int(sys.argv[5]))
