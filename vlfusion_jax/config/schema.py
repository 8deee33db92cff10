"""The one schema of every run: each key, its default, its unit, and by its default its type.

A config file starts from `default_config()` and changes values. The config is locked, so a misspelt key raises instead
of adding a new one; only `published` is open, since its keys are names of other people's models, and `model`, whose
keys are those of its family.
"""

from ml_collections import ConfigDict


def default_config() -> ConfigDict:
    """A fresh, locked config holding every key at its default."""
    config = ConfigDict()
    config.name = "run"  # names the default work directory, runs/<name>
    config.seed = 0  # of every random stream: parameters, order, masking, augmentation, dropout
    config.sharding = "dp"  # strategy name[:arg] of configs/shardings, or path of a .py file
    config.attention = "xla"  # what computes it: xla anywhere, splash on TPUs, cudnn on GPUs in bfloat16
    config.init_from = ""  # work directories or checkpoint steps, with commas, that start a new run; '' = random
    config.precision = _precision()
    config.model = ConfigDict({"family": ""})  # see models.families: hyperparameters("vilt", "base", layers=6)
    config.data = _data()
    config.tasks = _tasks()
    config.optim = _optim()
    config.train = _train()
    config.eval = _eval()
    config.checkpoint = _checkpoint()
    config.audit = ConfigDict({"max_replicated_kib": 0})  # refuse to start above this much replication; 0 = report only
    config.published = ConfigDict()  # name -> {metric: number, ..., source: text}, printed beside our evaluation
    config.lock()
    config.published.unlock()
    return config


def _precision() -> ConfigDict:
    precision = ConfigDict()
    precision.compute = "float32"  # float32 | bfloat16; parameters, softmax, norms and losses stay float32
    return precision


def _data() -> ConfigDict:
    data = ConfigDict()
    # sort_of_clevr (generated; :N,M for N training and M test images) | jsonl (your own images and text) | vqav2 |
    # nlvr2 | coco_karpathy | flickr30k | snli_ve | gqa | visual_genome_qa (built by vlfusion data) | tfds:coco_captions
    # | tfds:clevr | tfds:ref_coco/CONFIG (prepared by TFDS)
    data.source = "sort_of_clevr"
    data.path = ""  # jsonl: folder; others: where they are built, '' = $VLFUSION_CACHE or ~/.cache/vlfusion_jax
    data.train_split = "train"  # split trained on
    data.eval_split = "test"  # split evaluated on
    data.image_size = (75, 75)  # (height, width) of the array, in pixels; images are resized onto it, then padded
    # fit: as large as it goes | shorter: by their shorter side, ViLT's rule | stretch: to the whole array | crop: to
    # fill the array, keeping their middle | side_crop: by their shorter side, then the middle | shorter_crop: as
    # shorter, then the middle
    data.resize = "fit"
    data.shorter_side = 384  # pixels of the shorter side; with shorter*, the longer has at most 1333/800 of it
    data.side_multiple = 32  # resize=shorter and shorter_crop: both sides are cut to multiples of it
    data.resample = "auto"  # nearest | bilinear | bicubic | lanczos | box | hamming; auto: bicubic, of fit bilinear
    data.question_length = 16  # tokens, [CLS] and [SEP] included; longer questions are cut
    data.caption_length = 48  # tokens, [CLS] and [SEP] included; longer captions are cut
    data.answer_length = 10  # of an answer that is written: tokens, [CLS] and [SEP] included; longer ones are cut
    data.questions_per_image = 1  # questions asked of each image of a training batch
    data.vocab_size = 512  # most entries of a tokenizer trained on the run's own text
    data.tokenizer = ""  # path of a tokenizer.json; '' = train one on the run's own text
    data.fields = ConfigDict(  # jsonl: names of the fields
        {"image": "image", "question": "question", "answer": "answer", "caption": "caption", "kind": "kind"}
    )
    data.fields.statement = "statement"  # with its label: about an image, or a pair of images
    data.fields.label = "label"
    data.flip = False  # mirror half of the training images; never where a text says left or right
    data.randaugment = ""  # random changes of training images: '' | vilt | albef, see data/randaugment.py
    data.shift = 0  # most pixels of a random translation of training images
    data.threads = 2  # reader threads
    data.prefetch = 8  # batches prepared ahead
    data.answers_min_count = 1  # training answers rarer than this stay out of the answer vocabulary
    # jsonl: room for regions of an image, which files regions/NAME.npz have in place of pixels; of more the first are
    # kept. 0 = the model reads pixels
    data.regions = 0
    data.eval_limit = 0  # evaluate on the first so many images; 0 = all
    return data


def _tasks() -> ConfigDict:
    tasks = ConfigDict()
    # How tasks become one objective. sum: of their mean losses, weighted | uncertainty: the same, each loss L by a
    # learned log variance s, as exp(-s) L + s / 2 (Kendall et al. 2018) | sample: one task a step, drawn by the weights
    # (UNITER, Chen et al. 2020)
    tasks.combine = "sum"
    # weight: factor of the task's mean loss, 0 = off. schedule: points (step, factor) joined by lines; the factor
    # multiplies the weight.
    tasks.mlm = ConfigDict({"weight": 0.0, "schedule": ()})
    tasks.mlm.rate = 0.15  # share of caption tokens to predict
    tasks.mlm.whole_word = False  # mask all pieces of a word together
    tasks.itm = ConfigDict({"weight": 0.0, "schedule": ()})
    # random: half of the images get a caption of another | hard: those of the batch that the contrastive head finds
    # most alike, two for each pair that matches (ALBEF)
    tasks.itm.negatives = "random"
    tasks.itc = ConfigDict({"weight": 0.0, "schedule": ()})  # contrast of all texts and images of a batch
    tasks.itc.loss = "softmax"  # softmax over the batch, both ways (CLIP, ALBEF) | sigmoid of each pair (SigLIP)
    tasks.itc.momentum = 0.0  # softmax: of an average of the weights that makes the other side's vectors; 0 = no such
    tasks.itc.queue = 0  # with momentum: vectors of earlier batches that are compared too
    tasks.itc.soft_share = 0.4  # with momentum: share of the averaged model's own similarities in the targets
    tasks.itc.soft_steps = 0  # with momentum: steps over which that share grows from 0
    tasks.wpa = ConfigDict({"weight": 0.0, "schedule": ()})  # words and patches aligned by optimal transport
    tasks.caption = ConfigDict({"weight": 0.0, "schedule": ()})  # the caption, written word by word
    tasks.caption.smoothing = 0.1  # share of each word's target that is spread over all words
    tasks.caption.prompt = ""  # how every caption begins; not predicted
    tasks.mrm = ConfigDict({"weight": 0.0, "schedule": ()})
    tasks.mrm.rate = 0.15  # share of the image's patches or regions to predict
    # feature: normalised pixels, or a region's vector | class: a patch's mean colour, or a region's label | kl: a
    # region's distribution over classes
    tasks.mrm.target = "feature"
    tasks.mrm.classes = 0  # of regions, target=class and kl
    tasks.mrm.loss = "mse"  # mse | smooth_l1, of target=feature
    tasks.context = ConfigDict({"weight": 0.0, "schedule": ()})  # the fused vector, drawn to a given one
    tasks.context.loss = "mse"  # mse: squared error, a mean over the numbers | cosine: one minus the cosine
    tasks.context.width = 0  # numbers of a given vector; above 0 where the task is on
    tasks.vqa = ConfigDict({"weight": 1.0, "schedule": ()})
    tasks.vqa.loss = "bce"  # bce (soft targets) | ce
    tasks.vqa.hidden = 0  # hidden channels of the answer head; 0 = twice the width
    tasks.answer = ConfigDict({"weight": 0.0, "schedule": ()})  # the answer, written word by word
    tasks.answer.smoothing = 0.1  # share of each word's target that is spread over all words
    tasks.nlvr = ConfigDict({"weight": 0.0, "schedule": ()})  # on pairs of images, by itself
    return tasks


def _optim() -> ConfigDict:
    optim = ConfigDict()
    optim.lr = 1e-3  # peak learning rate of AdamW
    optim.schedule = "cosine"  # constant | linear | cosine, from lr to final_lr after the warm-up
    optim.warmup_steps = 100  # linear from 0 to lr
    optim.final_lr = 0.0  # learning rate that the decay ends at, after the last step
    optim.weight_decay = 0.01  # decoupled; never on biases and norms
    optim.b1 = 0.9
    optim.b2 = 0.98
    optim.eps = 1e-8
    optim.clip_norm = 1.0  # global norm of the gradient; 0 = no clipping
    optim.head_lr_multiplier = 1.0  # of the task heads
    optim.freeze = ()  # regular expressions searched in parameter paths; what matches is not trained
    return optim


def _train() -> ConfigDict:
    train = ConfigDict()
    train.steps = 1000  # updates in all
    train.batch_size = 64  # images, or pairs of images, per update, over all hosts
    train.micro_batches = 1  # gradient accumulation: parts that a batch is computed in; divides batch_size
    train.log_every = 10  # steps between lines of metrics.jsonl
    train.eval_every = 0  # steps between evaluations; 0 = at the end only
    return train


def _eval() -> ConfigDict:
    evaluation = ConfigDict({"batch_size": 64})  # images, or pairs, per evaluation batch, over all hosts
    evaluation.beams = 3  # captions kept at a time where the task caption is on; 1 = always the most probable word
    # Regular expression; captions are also scored by what it finds in them and in their references; '' = none
    evaluation.caption_pattern = ""
    return evaluation


def _checkpoint() -> ConfigDict:
    checkpoint = ConfigDict()
    checkpoint.every = 500  # steps between checkpoints; 0 = at the end only
    checkpoint.keep = 2  # newest checkpoints kept
    checkpoint.best_metric = ""  # evaluation metric whose best checkpoint is kept as well, such as accuracy; '' = none
    checkpoint.best_mode = "max"  # max | min
    return checkpoint
