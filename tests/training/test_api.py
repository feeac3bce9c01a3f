"""`unetkit.train`, as somebody calls it in a notebook."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import WritePairs
from hydra import compose, initialize_config_dir
from training_runs import composed

import unetkit
from unetkit.cli.completed import completed
from unetkit.errors import UserError
from unetkit.paths import config_dir
from unetkit.training.api import compose_training, new_run_dir, override

TINY: dict[str, object] = {"model.channels": [2, 4], "data.batch_size": 4, "trainer.enable_progress_bar": False}


def test_five_lines_train_on_a_folder_and_predict(
    tmp_path: Path, write_pairs: WritePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNETKIT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    images = {f"{i}": rng.integers(0, 256, (24, 24)).astype(np.uint8) for i in range(8)}
    write_pairs(tmp_path / "my data", images, {name: 255 * (image > 128) for name, image in images.items()})
    run = unetkit.train(data="my data", model="plain_small", epochs=1, trainer="cpu", seed=48, overrides=TINY)
    assert run.run_dir.parts[0] == "runs"
    assert (run.run_dir / "summary.json").exists()
    assert run.checkpoint.exists()
    assert run.best_checkpoint.exists()
    assert (run.summary["epochs"], run.summary["seed"], run.summary["data"]["name"]) == (1, 48, "folder")
    assert run.score == run.summary["val/iou_per_image"]
    assert run.predictor("cpu")(images["0"]).mask.shape == (24, 24)
    assert "data=folder" in completed(["unetkit", f"checkpoint={run.run_dir}"])


def test_it_can_be_called_inside_another_hydra_program(tmp_path: Path, cache: Path) -> None:
    typed = ["model.channels=[2,4]", "data.count=8", "data.size=24", f"data.cache_dir={cache}", "debug=default"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        run = unetkit.train(model="plain_small", trainer="cpu", run_dir=tmp_path, overrides=typed)
        assert compose("train", ["run_dir=x"]).seed == 47  # the other program's Hydra still works
    assert run.summary["task_name"] == "debug"
    assert run.score is not None


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        1e-3,
        float("inf"),
        "text",
        "a b=c,d",
        "it's",
        "back\\slash",
        "ends in \\",
        "16",
        [1, "a"],
        {"x": 1},
    ],
)
def test_a_value_comes_through_as_it_is(value: object) -> None:
    cfg = composed(override("weights", value), "run_dir=x")
    assert cfg.weights == value
    assert type(cfg.weights) is type(value) or isinstance(value, list | dict)


def test_a_value_that_no_file_can_hold_is_named() -> None:
    with pytest.raises(UserError, match=r"weights=.* is a object, which a configuration can't hold"):
        override("weights", object())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "unet_smal"}, "model=unet_smal does not exist; it may be unet_small"),
        ({"loss": "bce_then_lovasz"}, "loss=bce_then_lovasz was removed; use loss=bce_lovasz"),
        ({"sed": 3}, "sed is not a key of the configuration; did you mean seed"),
        ({"data": "nowhere"}, "data.root=nowhere does not exist"),
        ({"overrides": ["seed"]}, "seed can't be read"),
        ({"overrides": {"trainer.limit_val_batches": "all"}}, "trainer.limit_val_batches='all' is refused: "),
    ],
)
def test_mistakes_are_told_in_one_line(options: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as told:
        unetkit.train(run_dir=tmp_path / "run", **options)  # type: ignore[arg-type]
    assert "\n" not in str(told.value)


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    first = new_run_dir(tmp_path, "unet_small")
    assert first.is_dir()
    assert new_run_dir(tmp_path, "unet_small") != first


def test_run_dir_and_cache_are_read_as_paths(tmp_path: Path) -> None:
    cfg = compose_training([override("run_dir", tmp_path / "a=b, (c)")])
    assert cfg.callbacks.last.dirpath == f"{tmp_path}/a=b, (c)/checkpoints"


def test_importing_unetkit_imports_neither_torch_nor_hydra() -> None:
    code = "import sys, unetkit; assert not {'torch', 'hydra', 'lightning'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
