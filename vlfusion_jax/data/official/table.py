"""All official data sets that can be built."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vlfusion_jax.core import names
from vlfusion_jax.data.official import gqa, karpathy, nlvr2, snli_ve, visual_genome_qa, vqav2
from vlfusion_jax.data.official.contents import Contents


@dataclass(frozen=True)
class DataSet:
    """An official data set.

    Attributes:
      read: reads the folder it was unpacked into, without its images.
      files: what that folder holds, to show in messages.
      homepage: where it comes from.
      images: names of the images of a record.
      answers_min_count: `data.answers_min_count` of the published set of answers.
      labelled: see `data.records.Source`.
    """

    read: Callable[[Path], Contents]
    files: str
    homepage: str
    images: tuple[str, ...] = ("image",)
    answers_min_count: int = 1
    labelled: bool = False


DATA_SETS = {
    names.VQAV2: DataSet(
        vqav2.read,
        "v2_OpenEnded_mscoco_*_questions.json, v2_mscoco_*_annotations.json, train2014/, val2014/, test2015/",
        "https://visualqa.org",
        answers_min_count=9,
    ),
    names.NLVR2: DataSet(
        nlvr2.read,
        "train.json, dev.json, test1.json (or a clone nlvr/), images/train/, dev/, test1/",
        "https://lil.nlp.cornell.edu/nlvr",
        images=("left_image", "right_image"),
        labelled=True,
    ),
    names.COCO_KARPATHY: DataSet(
        karpathy.read_coco,
        "dataset_coco.json, train2014/, val2014/",
        "https://cs.stanford.edu/people/karpathy/deepimagesent",
    ),
    names.FLICKR30K: DataSet(
        karpathy.read_flickr30k,
        "dataset_flickr30k.json, flickr30k-images/",
        "https://shannon.cs.illinois.edu/DenotationGraph",
    ),
    names.SNLI_VE: DataSet(
        snli_ve.read,
        "snli_ve_train.jsonl, snli_ve_dev.jsonl, snli_ve_test.jsonl, flickr30k-images/",
        "https://github.com/necla-ml/SNLI-VE",
        labelled=True,
    ),
    names.GQA: DataSet(gqa.read, "*_balanced_questions.json, images/", "https://cs.stanford.edu/people/dorarad/gqa"),
    names.VISUAL_GENOME_QA: DataSet(
        visual_genome_qa.read,
        "question_answers.json, VG_100K/, VG_100K_2/",
        "https://homes.cs.washington.edu/~ranjay/visualgenome",
    ),
}
