"""Official numbers of result files, from the command line."""

import json

import pytest

from vlfusion_jax.cli.main import main


def score(capsys, *words):
    status = main(["score", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def files(tmp_path):
    """Function (results, annotations) -> flags of files that hold them."""

    def write(results, annotations):
        flags = []
        for name, content in (("results", results), ("annotations", annotations)):
            file = tmp_path / f"{name}.json"
            file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
            flags.append(f"--{name}={file}")
        return flags

    return write


def annotated(row):
    answers = [{"answer": answer, "answer_id": i} for i, answer in enumerate(row["answers"], 1)]
    return {key: row[key] for key in ("question_id", "question_type", "answer_type")} | {"answers": answers}


def test_answers(capsys, data_folder, files):
    folder = data_folder("vqa_metric")
    rows = [json.loads(line) for line in (folder / "accuracy.jsonl").read_text(encoding="utf-8").splitlines()]
    results = [{"question_id": row["question_id"], "answer": row["prediction"]} for row in reversed(rows)]
    flags = files(results, {"annotations": [annotated(row) for row in rows]})
    status, out, _ = score(capsys, "vqa", *flags, "--json")
    overall = json.loads((folder / "accuracy.overall.json").read_text(encoding="utf-8"))
    assert status == 0
    found = json.loads(out)
    assert 100 * found["accuracy"] == pytest.approx(overall["overall"])
    assert 100 * found["accuracy_yes/no"] == pytest.approx(overall["perAnswerType"]["yes/no"])
    assert "accuracy" in score(capsys, "vqa", *flags)[1]


def test_captions(capsys, data_folder, files, tmp_path):
    folder = data_folder("coco_caption_metrics")
    text = (folder / "fakecap2014_overlap126.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    results = [{"image_id": row["image_id"], "caption": row["hypothesis"]} for row in rows]
    people = [{"image_id": row["image_id"], "caption": each} for row in rows for each in row["references"]]
    people.append({"image_id": -1, "caption": "of another split"})
    items = tmp_path / "items.jsonl"
    status, out, _ = score(capsys, "captions", *files(results, {"annotations": people}), f"--items={items}")
    assert status == 0
    assert out.startswith("126 captions; 1 other images of ")
    assert out.splitlines()[-1].split() == ["cider", "62.77"]
    written = [json.loads(line) for line in items.read_text(encoding="utf-8").splitlines()]
    assert [row["image_id"] for row in written] == [row["image_id"] for row in rows]
    assert written[5]["cider"] == pytest.approx(rows[5]["per_item"]["CIDEr"])


TWO = [{"question_id": 1, "answer": "red"}, {"question_id": 2, "answer": "no"}]
PEOPLE = [{"question_id": number, "answers": [{"answer": "red"}] * 10} for number in (1, 2)]


@pytest.mark.parametrize(
    ("results", "annotations", "message"),
    [
        (TWO[:1], {"annotations": PEOPLE}, "1 of 2 questions of "),
        ([*TWO, TWO[0]], {"annotations": PEOPLE}, "entry 2: 1 is there twice"),
        (TWO, {"annotations": [PEOPLE[0], PEOPLE[0]]}, "annotations[1]: 1 is there twice"),
        (TWO, {"annotations": PEOPLE[:1]}, "1 of 2 entries are of no question in"),
        ([{"question_id": 1}], {"annotations": PEOPLE}, "entry 0: the text 'answer' is missing"),
        (TWO, {"annotations": [{"question_id": 1, "answers": [{"answer": "red"}]}]}, "1 answers, the accuracy takes 2"),
        (TWO, {"annotations": [{"question_id": 1, "answers": "red"}]}, "'answers' is no list of"),
        (TWO, PEOPLE, "a list of objects is expected under 'annotations'"),
        ({"1": "red"}, {"annotations": PEOPLE}, "a list of {'question_id': …, 'answer': …} is expected"),
        ([], {"annotations": PEOPLE}, "with one entry or more"),
        ("[{", {"annotations": PEOPLE}, "results.json: is no JSON"),
        ([{"question_id": None, "answer": "red"}], {"annotations": PEOPLE}, "'question_id' is missing"),
    ],
)
def test_mistakes_in_files(capsys, files, results, annotations, message):
    status, out, err = score(capsys, "vqa", *files(results, annotations))
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "score what? vlfusion score vqa|captions|nlvr"),
        (["images"], "score what?"),
        (["vqa", "--results=a.json"], "--annotations is missing"),
        (["vqa", "--results=none.json", "--annotations=none.json"], "none.json: cannot be read: No such file"),
        (["vqa", "--results=a", "--annotations=b", "--items=c"], "--items is for captions"),
        (["captions", "more"], "unexpected argument 'more'"),
    ],
)
def test_mistakes_in_words(capsys, words, message):
    status, _, err = score(capsys, *words)
    assert status == 2
    assert message in err


LABELS = {"dev-1-0-0": "True", "dev-1-1-0": "False", "dev-1-0-1": "True", "dev-2-0-0": "False", "dev-2-1-0": "False"}


def judged(judgements, tmp_path, labels=LABELS):
    """Flags of files that hold them."""
    results, annotations = tmp_path / "results.csv", tmp_path / "dev.json"
    results.write_text("".join(f"{key},{value}\n" for key, value in judgements))
    annotations.write_text("".join(json.dumps({"identifier": k, "label": v}) + "\n" for k, v in labels.items()))
    return f"--results={results}", f"--annotations={annotations}"


def test_judgements(capsys, tmp_path):
    """Three statements: of dev-1-·-0 one judgement is wrong, dev-1-·-1 and dev-2-·-0 are right on all their images."""
    judgements = LABELS | {"dev-1-1-0": "true", "dev-1-0-1": "true"}
    status, out, _ = score(capsys, "nlvr", *judged(reversed(judgements.items()), tmp_path), "--json")
    assert status == 0
    assert json.loads(out) == {"accuracy": 4 / 5, "consistency": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ([*LABELS.items()][1:], "1 of 5 examples of "),
        ([*LABELS.items(), ("dev-1-0-0", "True")], "line 6: 'dev-1-0-0' is there twice"),
        ([*LABELS.items(), ("dev-9-0-0", "True")], "1 examples are not in "),
        ([("dev-1-0-0", "maybe")], "line 1: true or false is expected for 'dev-1-0-0', got 'maybe'"),
        ([("dev-1", "True")], "an identifier such as 'dev-850-0-1' is expected, got 'dev-1'"),
        ([], "results.csv: is empty"),
    ],
)
def test_mistakes_in_judgements(capsys, tmp_path, judgements, message):
    status, out, err = score(capsys, "nlvr", *judged(judgements, tmp_path))
    assert (status, out) == (2, "")
    assert message in err


def test_annotations_of_judgements_are_json_lines(capsys, tmp_path):
    results, annotations = judged(LABELS.items(), tmp_path)
    for content, message in (
        ("[", " is not valid JSON"),
        ("[1]", " is not a JSON object but list"),
        ("{}", ': {"identifier": …, "label": …} is expected'),
    ):
        (tmp_path / "dev.json").write_text(content)
        assert f"dev.json line 1{message}" in score(capsys, "nlvr", results, annotations)[2]
