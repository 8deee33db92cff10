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
MATCH = "match"  # the image's own caption, or another's
MASKED_IMAGE = "masked_image"  # its own caption, with cells of the image hidden
PLAIN = "plain"  # its own caption
WRITTEN = "written"  # its own caption, to be written
ANSWERED = "answered"  # a question, with an answer to be written
REFERENCE = "reference"  # its own caption, with a vector that is given for it
HARD = "hard"  # pairs made of `PLAIN` on the device: all that match, then those most alike of the others
STATEMENT = "statement"  # about a pair of images
ASKING = (QUESTION, ANSWERED)  # of questions, of which an image has several
CAPTIONED = (MASKED, MATCH, MASKED_IMAGE, PLAIN, WRITTEN, REFERENCE)  # of a caption, in a batch

# Model inputs: the shared image, and per view the text.
IMAGE = "image"
IMAGE_MASK = "image_mask"
TEXT = "text"
TEXT_MASK = "text_mask"
TARGET = "target"
TARGET_POSITIONS = "target_positions"
TARGET_PLACES = "target_places"
MLM_POSITIONS = "positions"
IMAGE_MODALITY = "image_modality"
REGIONS = "regions"
BOXES = "boxes"
REGION_MASK = "region_mask"
ALIGNMENT = "alignment"
HIDDEN = "hidden"  # numbers of cells, -1 = none

SHOWN = (IMAGE, IMAGE_MASK, REGIONS, BOXES, REGION_MASK)  # what a batch shows of its images, pixels or regions

# Targets, per view; those of regions for all views.
MLM_LABELS = "labels"
MLM_WEIGHTS = "weights"
ITM_LABEL = "label"
ITM_WEIGHT = "weight"
NLVR_LABEL = "label"
NLVR_WEIGHT = "weight"
ANSWER_IDS = "answer_ids"
ANSWER_SCORES = "answer_scores"
ANSWER_WEIGHT = "weight"
KIND = "kind"
REGION_LABELS = "region_labels"
REGION_CLASSES = "region_classes"
CAPTION_WEIGHT = "weight"
VECTOR = "vector"  # of numbers, given for a caption
VECTOR_WEIGHT = "weight"
RECORD = "record"  # number of the image in its data set
WORD_WEIGHTS = "weights"  # 1 where the next token is to be predicted

# What a contrastive head gives beside its vectors.
SCALE = "scale"
BIAS = "bias"

# What a momentum encoder adds to `PLAIN`: its vectors of the batch, and those of batches before.
TEACHER_TEXT = "teacher_text"
TEACHER_IMAGE = "teacher_image"
QUEUE_TEXT = "queue_text"
QUEUE_IMAGE = "queue_image"
QUEUE_RECORD = "queue_record"
SOFT_SHARE = "soft_share"

# Tasks; most have a head of the same name.
MLM = "mlm"
ITM = "itm"
ITC = "itc"
WPA = "wpa"
VQA = "vqa"
MRM = "mrm"
NLVR = "nlvr"
HEAD = "head_"  # what the names of the heads' modules begin with, for parameter groups and fine-tuning
RETRIEVAL = "retrieval"
CONTRASTIVE = "contrastive"
REGION = "region"
CAPTION = "caption"
CONTEXT = "context"
ANSWER = "answer"  # a text, where VQA is a class
LOG_VARIANCE = "log_variance"  # parameters that weight the tasks
MASK_VECTOR = "mask_vector"  # parameter that stands where regions are hidden
TASKS = (MLM, ITM, ITC, WPA, CAPTION, VQA, ANSWER, NLVR, MRM, CONTEXT)
VERDICTS = ("false", "true")  # classes of NLVR, by number

# Data sets, as `data.source` names them; the official ones are built from their authors' files.
SORT_OF_CLEVR = "sort_of_clevr"
JSONL = "jsonl"
TFDS = "tfds"
VQAV2 = "vqav2"
NLVR2 = "nlvr2"
COCO_KARPATHY = "coco_karpathy"
FLICKR30K = "flickr30k"
SNLI_VE = "snli_ve"
GQA = "gqa"
VISUAL_GENOME_QA = "visual_genome_qa"
OFFICIAL_DATA = (VQAV2, NLVR2, COCO_KARPATHY, FLICKR30K, SNLI_VE, GQA, VISUAL_GENOME_QA)
SOURCES = (SORT_OF_CLEVR, JSONL, TFDS, *OFFICIAL_DATA)

# Flax collections of a decoder that is given a part of its text at a time.
CACHE = "cache"  # keys and values of the text so far
CROSS_CACHE = "cross_cache"  # keys and values of what it reads, which stay as they are

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
TASK = "task"
NEGATIVES = "negatives"
MASKING = "masking"
HIDING = "hiding"
ANSWERING = "answering"
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
