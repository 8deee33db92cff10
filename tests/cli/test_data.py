"""`vlfusion data check` and `vlfusion inspect` on a small set of one's own images."""

from vlfusion_jax.cli.main import main


def config_of(folder):
    return [
        "--config=configs/tiny.py",
        "--config.data.source=jsonl",
        f"--config.data.path={folder}",
        "--config.data.question_length=5",
    ]


def test_check_counts_what_is_there(folder, capsys):
    assert main(["data", "check", *config_of(folder)]) == 0
    out = capsys.readouterr().out
    train = out[out.index("\ntrain\n") : out.index("\ntest\n")]
    assert "4 answers yes, blue, green, red" in out
    assert "images      3, height×width 20×30" in train
    assert "captions    3, 5 to 5 tokens (mean 5.0), 0.0% cut at 48" in train
    # "which color is it" has 4 words, "is it red" has 3; with [CLS] and [SEP] 6 and 5, so that half are cut at 5.
    assert "questions   6, 5 to 6 tokens (mean 5.5), 50.0% cut at 5" in train
    assert "kinds       color 3, yes_no 3" in train


def test_check_finds_a_damaged_image(folder, capsys):
    (folder / "images" / "green.png").write_bytes(b"\x89PNG not really")
    assert main(["data", "check", *config_of(folder)]) == 2
    err = capsys.readouterr().err
    assert "green.png" in err
    assert err.count("\n") == 1


def test_inspect_prints_the_table(folder, capsys):
    assert main(["inspect", *config_of(folder), "--config.sharding=fsdp"]) == 0
    out = capsys.readouterr().out
    assert "sharding fsdp: mesh data=1 × fsdp=8 × tensor=1" in out
    assert "words/table" in out


def test_third_party_sets_are_counted(data_folder, capsys):
    assert main(["data", "check", "--config=configs/easy_vqa.py", f"--config.data.path={data_folder('easy_vqa')}"]) == 0
    out = capsys.readouterr().out
    assert "13 answers" in out
    assert "images      4,000, height×width 64×64" in out
    assert "questions   38,575, " in out
    assert "questions   9,673, " in out
    assert out.count("0.0% cut at 12") == 2

    folder = data_folder("noto_emoji")
    assert main(["data", "check", "--config=configs/noto_emoji.py", f"--config.data.path={folder}"]) == 0
    out = capsys.readouterr().out
    assert "captions    3,320, " in out
    assert "captions    106, " in out
    assert out.count("0.0% cut at 24") == 2
