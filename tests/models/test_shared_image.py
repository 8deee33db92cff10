"""Several texts of an image, which is encoded once, give what one text per image gives."""

from functools import partial

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names

HEADS = (names.MLM, names.ITM, names.VQA)
IMAGES, TEXTS = 2, 3


@pytest.mark.parametrize("kind", ["single_stream", "two_stream", "cross_attention"])
@pytest.mark.parametrize("image_layers", [0, 1])
def test_texts_may_share_their_image(make_spec, random_model, random_inputs, kind, image_layers):
    model, params = random_model(make_spec(model__family=kind, model__image_layers=image_layers))
    inputs = random_inputs(1, images=IMAGES, texts=TEXTS)
    repeated = inputs | {name: inputs[name].repeat(TEXTS, axis=0) for name in (names.IMAGE, names.IMAGE_MASK)}
    apply = jax.jit(partial(model.apply, {"params": params}, heads=HEADS, capture=True))
    shared, expected = apply(inputs), apply(repeated)
    assert shared.image.shape[0] == (IMAGES if kind == "cross_attention" else IMAGES * TEXTS)
    assert shared.image_mask.shape == shared.image.shape[:2]
    for path, ours in jax.tree_util.tree_leaves_with_path(shared):
        theirs = dict(jax.tree_util.tree_leaves_with_path(expected))[path]
        for axis, (one, other) in enumerate(zip(ours.shape, theirs.shape, strict=True)):
            if one != other:  # what belongs to the images alone
                ours = ours.repeat(TEXTS, axis=axis)
        np.testing.assert_allclose(ours, theirs, atol=2e-6, err_msg=jax.tree_util.keystr(path))
