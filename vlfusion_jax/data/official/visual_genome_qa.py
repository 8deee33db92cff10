"""Questions of Visual Genome (Krishna et al. 2017), from `question_answers.json`, `images.zip` and `images2.zip`."""

from pathlib import Path

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import entries, listed, put, read_json, text
from vlfusion_jax.data.answers import normalise_answer
from vlfusion_jax.data.official.contents import Contents, Entry
from vlfusion_jax.data.official.files import image_folder, rows_of, spoken, text_files, whole_number
from vlfusion_jax.data.records import Question

_IMAGES = ("VG_100K", "VG_100K_2")


def read(folder: Path) -> Contents:
    """One split, train; answers are normalised as those of VQA, whose training it adds to.

    Raises:
      UserError: the file is not what it should be, or an image or question is there twice.
    """
    contents, seen_images, seen = Contents(), {}, {}
    if files := text_files(folder, ["question_answers.json"]):
        (file,), asked = files, []
        parents = [image_folder(folder, [name]) for name in _IMAGES]
        for where, row in rows_of(file, listed(file, read_json(file))):
            image, questions = whole_number(row, "id", where), []
            put(seen_images, image, where, where)
            for place, each in entries(where, row, "qas"):
                key = whole_number(each, "qa_id", place)
                put(seen, key, place, place)
                if whole_number(each, "image_id", place) != image:
                    raise UserError(f"{place}: 'image_id' is {each['image_id']}, in a list of image {image}.")
                words, answer = spoken(each, "question", place), normalise_answer(text(each, "answer", place))
                if not words:
                    contents.dropped.add("train", "question without words", place)
                elif not answer:
                    contents.dropped.add("train", "answer without words", place)
                else:
                    questions.append(Question(words, ((answer, 1.0),), id=str(key)))
                    contents.answer_counts[answer] += 1
            if questions:
                paths = [f"{parent}/{image}.jpg" for parent in parents]
                path = next((path for path in paths if (folder / path).is_file()), paths[0])
                asked.append(Entry((path,), questions=tuple(questions)))
        contents.splits["train"] = asked
    return contents
