"""What tells one data set from another."""

import json

from vlfusion_jax.data.source import fingerprint, open_source


def test_fingerprint_sees_every_text_and_their_order(write_jsonl, jsonl_config, png, tmp_path):
    rows = [
        {"image": "a.png", "question": "what?", "answer": "x", "kind": "k"},
        {"image": "b.png", "caption": "a thing"},
    ]

    def of(rows):
        folder = write_jsonl(tmp_path, rows, {name: png(4, 4) for name in ("a.png", "b.png")})
        return fingerprint(open_source(jsonl_config(folder).data, "train"))

    changed = [json.loads(json.dumps(rows)) for _ in range(4)]
    changed[0][0]["answer"] = "y"
    changed[1][0]["kind"] = "l"
    changed[2][1]["caption"] = "a Thing"
    changed[3].reverse()
    found = {of(variant) for variant in (rows, *changed)}
    assert len(found) == 5
    assert of(rows) in found
