"""Every name that crosses a room: mesh axes, logical axes, batch keys, rng streams.

No other file spells these strings out; a misspelling is then an `AttributeError` at import, not a silent
replication or a missing batch entry an hour later.
"""

# Mesh axes. A batch is split over DATA and FSDP, parameters over FSDP and TENSOR.
DATA = "data"
FSDP = "fsdp"
TENSOR = "tensor"
MESH_AXES = (DATA, FSDP, TENSOR)

# Logical axes of parameters and activations; a sharding strategy maps each to mesh axes.
BATCH = "batch"
SEQUENCE = "sequence"  # where heads or hidden units may be split
RESIDUAL_SEQUENCE = "residual_sequence"  # between those parts
LAYERS = "layers"
EMBED = "embed"
EMBED_ACTIVATION = "embed_activation"  # of activations, where EMBED is of parameters
HEADS = "heads"
HEAD_DIM = "head_dim"
MLP = "mlp"
MLP_BIAS = "mlp_bias"  # apart from MLP: alone in a parameter it may take the axis that a kernel gives to EMBED
VOCAB = "vocab"
VOCAB_BIAS = "vocab_bias"
ANSWERS = "answers"
POSITIONS = "positions"
TYPES = "types"
PIXELS = "pixels"
WINDOW = "window"
LOGICAL_AXES = (
    BATCH, SEQUENCE, RESIDUAL_SEQUENCE, LAYERS, EMBED, EMBED_ACTIVATION, HEADS, HEAD_DIM, MLP, MLP_BIAS,
    VOCAB, VOCAB_BIAS, ANSWERS, POSITIONS, TYPES, PIXELS, WINDOW,
)  # fmt: skip

# Views: the texts that a batch carries for its images. A task reads one view, the model runs once per view.
QUESTION = "question"
MASKED = "masked"
MATCH = "match"
MASKED_IMAGE = "masked_image"  # whose image has hidden cells, so that no other view shares it

# Model inputs: the shared image, and per view the text.
IMAGE = "image"
IMAGE_MASK = "image_mask"
TEXT = "text"
TEXT_MASK = "text_mask"
TARGET = "target"
TARGET_POSITIONS = "target_positions"
MLM_POSITIONS = "positions"
IMAGE_MODALITY = "image_modality"
REGIONS = "regions"
BOXES = "boxes"
REGION_MASK = "region_mask"
ALIGNMENT = "alignment"
HIDDEN = "hidden"  # numbers of cells, -1 = none

# Targets, per view.
MLM_LABELS = "labels"
MLM_WEIGHTS = "weights"
ITM_LABEL = "label"
ITM_WEIGHT = "weight"
ANSWER_IDS = "answer_ids"
ANSWER_SCORES = "answer_scores"
ANSWER_WEIGHT = "weight"
KIND = "kind"
REGION_LABELS = "region_labels"
REGION_CLASSES = "region_classes"

# Tasks, which are also the names of their heads, and heads that no task trains by itself.
MLM = "mlm"
ITM = "itm"
VQA = "vqa"
MRM = "mrm"
HEAD = "head_"  # what the names of the heads' modules begin with, for parameter groups and fine-tuning
NLVR = "nlvr"
RETRIEVAL = "retrieval"
CONTRASTIVE = "contrastive"
REGION = "region"
CAPTION = "caption"
ANSWER = "answer"  # a text, where VQA is a class
VIEW_OF_TASK = {MLM: MASKED, ITM: MATCH, VQA: QUESTION, MRM: MASKED_IMAGE}

# Parameters that a run may lack and another have.
MASK_VECTOR = "mask_vector"

# Values that the backward pass may keep; dropout's masks have the name of their random stream.
SOFTMAX = "softmax"  # logarithm of its denominator
NORM = "norm"  # mean and deviation
ATTENDED = "attended"
QKV = "qkv"  # queries, keys and values
EXPANDED = "expanded"  # hidden units before the activation

# Random streams.
PARAMS = "params"
DROPOUT = "dropout"
ORDER = "order"
CHOICE = "choice"
MASKING = "masking"
HIDING = "hiding"
MATCHING = "matching"
AUGMENT = "augment"
SCENES = "scenes"


def key(view: str, name: str) -> str:
    """Batch key of entry `name` of `view`, such as `question/text`."""
    return f"{view}/{name}"


def mask_of(text: str) -> str:
    """Name of the mask of a text input, such as `text_mask`."""
    return f"{text}_mask"


def types_of(text: str) -> str:
    """Name of the token types of a text input, such as `text_types`."""
    return f"{text}_types"
