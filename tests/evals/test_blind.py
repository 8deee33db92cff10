import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.data.records import Question
from vlfusion_jax.data.source import open_source
from vlfusion_jax.evals.blind import blind_accuracy


class Texts(list):
    """A source of questions alone: a list of images, each a list of questions."""

    def text_of(self, index):
        return (), tuple(self[index])


def asked(text, *answers, kind=""):
    return Question(text, tuple((a, 1.0) if isinstance(a, str) else a for a in answers), kind)


TRAIN = Texts(
    [
        [asked("colour?", "red"), asked("colour?", "blue")],
        [asked("colour?", "blue"), asked("round?", "yes")],
        [asked("round?", "yes"), asked("round?", "no"), asked("how many?", "yes")],
    ]
)


def test_counts_the_most_frequent_answer_of_each_question():
    test = Texts([[asked("colour?", "blue"), asked("colour?", "red")], [asked("round?", "yes"), asked("new?", "yes")]])
    assert blind_accuracy(TRAIN, test) == {"accuracy_blind": 3 / 4}  # `new?` gets `yes`, the most frequent of all


def test_by_kind_with_soft_scores_and_a_limit():
    test = Texts(
        [
            [asked("colour?", ("blue", 0.3), ("red", 1.0), kind="what"), asked("round?", "yes", kind="is it")],
            [asked("round?", "no", kind="is it"), asked("round?", "perhaps")],
        ]
    )
    assert blind_accuracy(TRAIN, test) == {
        "accuracy_blind": pytest.approx(1.3 / 4),
        "accuracy_blind_what": pytest.approx(0.3),
        "accuracy_blind_is it": pytest.approx(0.5),
    }
    assert blind_accuracy(TRAIN, test, images=1)["accuracy_blind_is it"] == 1.0


def test_a_tie_goes_to_the_answer_met_first():
    train = Texts([[asked("q", "b"), asked("q", "a")]])
    assert blind_accuracy(train, Texts([[asked("q", "b")]])) == {"accuracy_blind": 1.0}


def test_without_questions_there_is_no_bound():
    assert blind_accuracy(Texts([[]]), Texts([[]])) == {}


def test_easy_vqa_has_its_known_bound(data_folder):
    data = default_config().data
    data.source, data.path = "jsonl", str(data_folder("easy_vqa"))
    bound = blind_accuracy(open_source(data, "train"), open_source(data, "test"))
    assert bound["accuracy_blind"] == pytest.approx(0.670, abs=5e-4)
