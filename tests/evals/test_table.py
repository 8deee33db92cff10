from vlfusion_jax.evals.table import format_table


def test_everything_beside_everything():
    metrics = {"vqa_loss": 0.123456, "itm_accuracy": 0.9, "accuracy_relational": 0.8512, "accuracy": 0.91}
    blind = {"accuracy_blind": 0.5, "accuracy_blind_relational": 0.55}
    published = {
        "cnn_mlp": {"accuracy_relational": 0.63, "source": "Santoro et al. 2017"},
        "relation_network": {"accuracy_relational": 0.94, "accuracy_other": 0.5},
    }
    assert format_table(metrics, blind, published).splitlines() == [
        "                     this run  question only  cnn mlp  relation network",
        "-------------------  --------  -------------  -------  ----------------",
        "accuracy               91.0 %         50.0 %",
        "accuracy_other                                                   50.0 %",
        "accuracy_relational    85.1 %         55.0 %   63.0 %            94.0 %",
        "itm_accuracy           90.0 %",
        "vqa_loss               0.1235",
        "cnn mlp: Santoro et al. 2017",
    ]


def test_answers_that_are_written_have_the_same_bound():
    metrics = {"answer_token_accuracy": 0.9, "answer_accuracy": 0.5, "answer_accuracy_odd": 0.25, "answer_loss": 1.5}
    assert format_table(metrics, {"accuracy_blind": 0.4, "accuracy_blind_odd": 0.2}, {}).splitlines()[2:] == [
        "answer_accuracy          50.0 %         40.0 %",
        "answer_accuracy_odd      25.0 %         20.0 %",
        "answer_token_accuracy    90.0 %",
        "answer_loss              1.5000",
    ]


def test_columns_without_figures_are_left_out():
    assert format_table({"mlm_accuracy": 0.25}, {}, {}).splitlines() == [
        "              this run",
        "------------  --------",
        "mlm_accuracy    25.0 %",
    ]


def test_recalls_are_shares_in_the_order_of_their_depths():
    found = {f"text_to_image_r{k}": share for k, share in ((10, 0.5), (1, 0.25), (5, 0.375))}
    assert format_table(found | {"itc_loss": 2.0}, {}, {}).splitlines()[2:] == [
        "text_to_image_r1     25.0 %",
        "text_to_image_r5     37.5 %",
        "text_to_image_r10    50.0 %",
        "itc_loss             2.0000",
    ]
