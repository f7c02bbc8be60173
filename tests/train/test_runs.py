"""What a command line names: recipes by name and by module, settings that fit and that do not, files of subnets."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ofa.errors import FileInvalid, OfaError, UsageInvalid
from ofa.train import cli, folder, recipes, runs, settings
from ofa.train.recipes import Recipe
from ofa.train.schedule import Phase


def refused(wanted: list[str], recipe: str = "demo", scale: float = 1.0) -> OfaError:
    with pytest.raises(UsageInvalid) as caught:
        runs.recipe_named(recipe, wanted, scale)
    assert caught.value.exit_code == 2 and caught.value.why and caught.value.hints
    return caught.value


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("batch=8", 8),
        ("weight_decay=1", 1.0),
        ("weight_decay=1e-3", 1e-3),
        ("clip_norm=null", None),
        ("optimiser=sgd", "sgd"),
        ('optimiser="sgd"', "sgd"),
        ("mean=[0.5, 1, 0]", (0.5, 1.0, 0.0)),
        ("std=null", None),
        ("width=1.2", 1.2),
        ("space=resnet50", "resnet50"),
        ("rate_batch=256", 256),
    ],
)
def test_a_setting_changes_one_choice(setting: str, expected: Any) -> None:
    found = runs.recipe_named("demo", [setting], 1.0)
    key = setting.partition("=")[0]
    value = getattr(found, key)
    assert value == expected and type(value) is type(expected)
    if isinstance(value, tuple):
        assert {type(part) for part in value} == {float}
    assert dataclasses.replace(found, **{key: getattr(recipes.demo(), key)}) == recipes.demo()


def test_help_names_every_recipe_and_the_page_every_key() -> None:
    assert cli.RECIPES.replace(" or ", ", ").split(", ") == list(recipes.RECIPES)
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    listed = page.partition("`KEY` is one of ")[2].partition(".\n")[0].split(",")
    assert [key.strip("` \n") for key in listed] == sorted(set(recipes.NAMES) - set(runs.FIXED))


def test_numbers_are_read_as_the_recipe_declares_them() -> None:
    """Else 1 and 1.0 would be two recipes, and a training could not go on by the same command."""
    whole, broken = (runs.recipe_named("demo", [f"student_weight={text}"], 1.0) for text in ("1", "1.0"))
    assert whole.id == broken.id


def test_settings_add_up_and_the_last_one_counts() -> None:
    found = runs.recipe_named("imagenet", ["batch=64", "shards=1", "batch=32"], 0.5)
    assert (found.batch, found.shards) == (32, 1)
    assert [phase.epochs for phase in found.phases] == [180] and found.phases[0].warmup_epochs == 2.5


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("batch=many", "int"),
        ("batch=1.5", "int"),
        ("batch=true", "int"),
        ("batch", "int"),
        ("batch=", "int"),
        ("batch=[8]", "int"),
        ("batch=0", "1 to"),
        ("batch=-8", "1 to"),
        ("shards=0", "1 to"),
        ("seed=-1", "0 to"),
        ("seed=99999999999999999999999", "0 to"),
        ("holdout=-1", "at least 0"),
        ("calibration=0", "at least 1"),
        ("log_steps=0", "at least 1"),
        ("checkpoint_steps=0", "at least 1"),
        ("label_smoothing=1.5", "0 to 1"),
        ("dropout=1", "0 to 0.999"),
        ("weight_decay=NaN", "float"),
        ("weight_decay=Infinity", "float"),
        ("weight_decay=1e999", "float"),
        ("weight_decay=" + "9" * 400, "float"),
        ("precision=fp64", "fp32"),
        ("distillation=null", "alpha"),
        ("mean=0.5", "tuple"),
        ('mean=["a"]', "tuple"),
        ("mean=[true]", "tuple"),
        ("mean=[[0.5]]", "tuple"),
        ("mean=[NaN]", "tuple"),
        ("std=[0]", "at least"),
        ("space=3", "str"),
        ("batch=" + "[" * 100_000, "int"),
    ],
    ids=lambda text: text[:30],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(setting: str, told: str) -> None:
    fault = refused([setting])
    key = setting.partition("=")[0]
    assert f"setting '{key}' cannot be" in fault.what and told in fault.why and f"--set {key}=" in fault.hints[0]


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    fault = refused(["label_smothing=0.1"])
    assert "no setting 'label_smothing'" in fault.what and "label_smoothing" in fault.hints[0]
    assert "batch" in fault.why and refused(["zzz=1"]).hints == ("--set key=value",)


@pytest.mark.parametrize("key", runs.FIXED)
def test_what_makes_a_recipe_that_recipe_is_no_setting(key: str) -> None:
    assert f"no setting '{key}'" in refused([f"{key}=null"]).what


def test_fine_tuning_keeps_network_and_images() -> None:
    for key in runs.INHERITED:
        value = json.dumps(dataclasses.asdict(recipes.imagenet())[key])
        with pytest.raises(UsageInvalid, match=f"cannot change '{key}'"):
            runs.changed(recipes.imagenet(), [f"{key}={value}"], kept=runs.INHERITED)
    assert runs.changed(recipes.imagenet(), ["batch=64"], kept=runs.INHERITED).batch == 64


def test_choices_that_contradict_each_other_are_refused() -> None:
    assert "8 shards are more than the 4 images" in refused(["batch=4"], recipe="imagenet").why
    for scale in (float("nan"), float("inf"), 1e300):
        assert "'epochs'" in refused([], scale=scale).why


def test_an_unknown_recipe_names_the_known() -> None:
    fault = refused([], recipe="small_image")
    assert "no recipe 'small_image'" in fault.what and "small_images_shrinking" in fault.why
    assert "module:function" in fault.hints[0]


MODULE = """
from dataclasses import replace
from ofa.errors import FileInvalid
from ofa.train import recipes
from ofa.train.schedule import Phase

def mine():
    return replace(recipes.demo(), name="mine", batch=24)

def broken():
    return 1 / 0

def other():
    return {"batch": 3}

def refused():
    raise FileInvalid("my file is wrong", why="it is", hint="mend it")

def no_phase():
    return replace(recipes.demo(), phases=())

def no_subnet():
    return replace(recipes.demo(), phases=(Phase(name="idle", epochs=1, learning_rate=1),))

def taught(teacher, **more):
    phase = Phase(name="odd", epochs=1, learning_rate=1, random=1, teacher=teacher, **more)
    return replace(recipes.demo(), phases=(phase,))

def no_teacher():
    return taught("in_place")

def no_network():
    return taught("frozen")

def no_kind():
    return taught("none", choices={"kernels": 1})

def text():
    return replace(recipes.demo(), batch="64")

def bad_phase():
    return replace(recipes.demo(), phases=(Phase(name="odd", epochs="1", learning_rate=1, random=1),))

value = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module that lies where the command is called, and nowhere Python looks by itself."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes_of_mine.py").write_text(MODULE)
    (tmp_path / "recipes_torn.py").write_text("def mine(:\n")
    monkeypatch.delitem(sys.modules, "recipes_of_mine", raising=False)
    return "recipes_of_mine"


def test_a_recipe_of_the_users_own_is_found_where_the_command_is_called(module: str) -> None:
    found = runs.recipe_named(f"{module}:mine", ["holdout=7"], 2.0)
    assert (found.name, found.batch, found.holdout) == ("mine", 24, 7) and found.phases[0].epochs == 2


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("broken", "ZeroDivisionError"),
        ("other", "it returned dict"),
        ("absent", "AttributeError"),
        ("value", "TypeError"),
        ("", "AttributeError"),
        ("no_phase", "no phases"),
        ("no_subnet", "trains no subnet"),
        ("no_teacher", "learns from the largest subnet of each step (teacher 'in_place'), and does not train it"),
        ("no_network", "phase 'odd' learns from the network of the first phase (teacher 'frozen'), and is the first"),
        ("no_kind", "phase 'odd' opens 'kernels'; what can be opened is kernel, depth, expand, width"),
        ("text", "'batch' is '64', and must be int"),
        ("bad_phase", "phase 'odd': 'epochs' is '1'"),
    ],
)
def test_a_recipe_of_the_users_own_that_fails_is_no_bug_of_ours(module: str, function: str, told: str) -> None:
    assert told in refused([], recipe=f"{module}:{function}").why


@pytest.mark.parametrize("name", ["recipes_torn:mine", "no_such_module:mine", ":mine", ".:mine", "a b:mine"])
def test_a_module_that_cannot_be_imported_is_no_bug_of_ours(module: str, name: str) -> None:
    assert f"recipe '{name}' cannot be used" in refused([], recipe=name).what


def test_what_a_recipes_function_says_itself_is_passed_on(module: str) -> None:
    with pytest.raises(FileInvalid, match="my file is wrong"):
        runs.recipe_named(f"{module}:refused", [], 1.0)


def facts_of(recipe: Recipe) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(json.dumps(recipe.to_json()))
    return facts


def test_a_kept_recipe_is_read_back(tmp_path: Path) -> None:
    for recipe in (recipes.imagenet_shrinking(), dataclasses.replace(recipes.demo(), subnet=(1, 2), width=0.5)):
        (tmp_path / folder.RECIPE).write_text(json.dumps(recipe.to_json()))
        assert runs.recipe_of(tmp_path) == recipe


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "3",
        "null",
        '"text"',
        "[]",
        '["ab"]',
        "{}",
        json.dumps(facts_of(recipes.demo()) | {"batch": "64"}),
        json.dumps(facts_of(recipes.demo()) | {"batch": 0}),
        json.dumps(facts_of(recipes.demo()) | {"colour": 1}),
        json.dumps(facts_of(recipes.demo()) | {"mean": 3}),
        json.dumps(facts_of(recipes.demo()) | {"phases": 3}),
        json.dumps(facts_of(recipes.demo()) | {"phases": [3]}),
        json.dumps(facts_of(recipes.demo()) | {"phases": [{"name": "a"}]}),
        json.dumps(facts_of(recipes.demo()) | {"phases": []}),
        json.dumps({key: value for key, value in facts_of(recipes.demo()).items() if key != "mean"}),
    ],
)
def test_a_kept_recipe_that_was_spoilt_is_a_wrong_file(content: str, tmp_path: Path) -> None:
    (tmp_path / folder.RECIPE).write_text(content)
    with pytest.raises(FileInvalid) as caught:
        runs.recipe_of(tmp_path)
    assert caught.value.exit_code == 3 and folder.RECIPE in caught.value.what and caught.value.hints


def test_ranges_are_of_choices_that_there_are_and_hold_for_every_recipe() -> None:
    known = {field.name for one in (Recipe, Phase) for field in dataclasses.fields(one)}
    assert set(settings.RANGES) <= known
    for recipe in (make() for make in recipes.RECIPES.values()):
        assert settings.problem(recipe) == ""
